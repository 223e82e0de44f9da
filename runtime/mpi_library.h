/* An MPI library, whichever it is: its functions and constants, found at run time without its header. */
#ifndef MLC_MPI_LIBRARY_H
#define MLC_MPI_LIBRARY_H

#include <stdint.h>

#include "collective.h"
#include "error.h"
#include "plan.h"

/* A communicator, datatype, operation, request or error handler: a pointer or an int, both fit, ints in its low half. */
typedef void *mlc_mpi_handle;

/* A reduction of the caller's own: inout[i] = inout[i] op in[i] for *count elements. */
typedef void (*mlc_mpi_function)(void *in, void *inout, int *count, mlc_mpi_handle *datatype);

enum mlc_mpi_abi { MLC_MPI_STANDARD, MLC_MPI_MPICH, MLC_MPI_OPENMPI, MLC_N_MPI_ABIS };

/* Functions as in the MPI standard, named without MPI_; they return 0 or an error code for error_string. */
struct mlc_mpi {
    enum mlc_mpi_abi abi;
    char path[512];    /* as it was opened */
    char version[128]; /* first line of what the library says of itself */

    mlc_mpi_handle comm_world, errors_return;
    mlc_mpi_handle datatypes[MLC_N_DTYPES]; /* memory of the same width for those that MPI has not: f16, bf16, bool */
    mlc_mpi_handle ops[MLC_N_REDUCTIONS];
    void *in_place, *status_ignore;
    int thread_serialized;
    int64_t most; /* elements that one call takes: INT64_MAX, INT_MAX without large counts, or what MLC_MPI_MOST says */

    int (*initialized)(int *flag);
    int (*init_thread)(int *argc, char ***argv, int required, int *provided);
    int (*query_thread)(int *provided);
    int (*finalized)(int *flag);
    int (*finalize)(void);
    int (*get_library_version)(char *text, int *length);
    int (*error_string)(int code, char *text, int *length);
    int (*comm_set_errhandler)(mlc_mpi_handle comm, mlc_mpi_handle handler);
    int (*comm_size)(mlc_mpi_handle comm, int *size);
    int (*comm_rank)(mlc_mpi_handle comm, int *rank);
    int (*comm_dup)(mlc_mpi_handle comm, mlc_mpi_handle *out);
    int (*comm_split)(mlc_mpi_handle comm, int color, int key, mlc_mpi_handle *out);
    int (*comm_free)(mlc_mpi_handle *comm);
    int (*op_create)(mlc_mpi_function function, int commutes, mlc_mpi_handle *out);
    int (*op_free)(mlc_mpi_handle *op);
    int (*test)(mlc_mpi_handle *request, int *flag, void *status);
    int (*iallreduce)(const void *source, void *destination, int count, mlc_mpi_handle datatype, mlc_mpi_handle op,
                      mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*iallgather)(const void *source, int sent, mlc_mpi_handle sent_type, void *destination, int received,
                      mlc_mpi_handle received_type, mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*ireduce_scatter_block)(const void *source, void *destination, int count, mlc_mpi_handle datatype,
                                 mlc_mpi_handle op, mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*ibcast)(void *buffer, int count, mlc_mpi_handle datatype, int root, mlc_mpi_handle comm,
                  mlc_mpi_handle *request);

    /* The same with counts above 2^31 - 1 (MPI 4); NULL where the library has none. */
    int (*iallreduce_c)(const void *source, void *destination, int64_t count, mlc_mpi_handle datatype,
                        mlc_mpi_handle op, mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*iallgather_c)(const void *source, int64_t sent, mlc_mpi_handle sent_type, void *destination, int64_t received,
                        mlc_mpi_handle received_type, mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*ireduce_scatter_block_c)(const void *source, void *destination, int64_t count, mlc_mpi_handle datatype,
                                   mlc_mpi_handle op, mlc_mpi_handle comm, mlc_mpi_handle *request);
    int (*ibcast_c)(void *buffer, int64_t count, mlc_mpi_handle datatype, int root, mlc_mpi_handle comm,
                    mlc_mpi_handle *request);
};

/*
 * Open an MPI library into *mpi, for the rest of the process (an MPI cannot be unloaded): the one that runs in this
 * process already; else what MLC_MPI names (a path or a library name); else the first that opens of libmpi_abi.so.1,
 * libmpi.so.12, libmpich.so.12 and libmpi.so.40 (this one first under Open MPI's launcher), each in `folder` (NULL for
 * none), then where the loader looks. Does not start it.
 * -ENOENT where there is none, -ENOTSUP for an MPI of unknown constants or without a function that is needed.
 */
int mlc_mpi_load(struct mlc_mpi *mpi, const char *folder, const struct mlc_error *error);

#endif
