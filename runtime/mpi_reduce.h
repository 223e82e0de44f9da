/* Reductions that MPI has not: of f16 and bf16, maxima that pass on NaN, sums of short integers that always go round. */
#ifndef MLC_MPI_REDUCE_H
#define MLC_MPI_REDUCE_H

#include <stdint.h>

#include "mpi_library.h"

/*
 * The function that combines elements of `dtype` by `reduction`, or NULL where the library's own operation on
 * mpi->datatypes[dtype] does that. Halves are combined in f32 and rounded to nearest even after each step.
 */
mlc_mpi_function mlc_mpi_reduce_function(uint32_t dtype, uint32_t reduction);

#endif
