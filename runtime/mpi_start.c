/* Turns one collective of a Plan into the MPI call that starts it. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "mpi_reduce.h"
#include "mpi_world.h"

/* The operation of a reduction: the library's, or one of ours that it calls. */
static int find_op(struct mlc_mpi_world *world, const struct mlc_collective *what, mlc_mpi_handle *out,
                   const struct mlc_error *error)
{
    mlc_mpi_function function = mlc_mpi_reduce_function(what->dtype, what->reduction);
    mlc_mpi_handle *own = &world->own_ops[what->dtype][what->reduction];
    static const enum mlc_reduction of_bool[MLC_N_REDUCTIONS] = {MLC_OR, MLC_AND, MLC_OR, MLC_AND,
                                                                 MLC_AND, MLC_OR, MLC_XOR};

    if (what->dtype <= MLC_F64 && what->reduction >= MLC_AND)
        return mlc_fail(error, -ENOTSUP, "%s: and, or and xor take integers and bool", what->label);
    *out = world->mpi.ops[what->dtype == MLC_BOOL ? of_bool[what->reduction] : what->reduction];
    if (!function)
        return 0;
    if (!*own) {
        int code = world->mpi.op_create(function, 1, own);
        if (code)
            return mlc_mpi_fail(world, code, what->label, error);
    }
    *out = *own;
    return 0;
}

/* The call with a count that fits an int. */
static int call_int(const struct mlc_mpi *mpi, const struct mlc_collective *what, const void *source, mlc_mpi_handle op,
                    mlc_mpi_handle comm, mlc_mpi_handle *request)
{
    mlc_mpi_handle type = mpi->datatypes[what->dtype];
    int count = (int)what->count;

    switch (what->kind) {
    case MLC_ALL_REDUCE:
        return mpi->iallreduce(source, what->destination, count, type, op, comm, request);
    case MLC_ALL_GATHER:
        return mpi->iallgather(source, count, type, what->destination, count, type, comm, request);
    case MLC_REDUCE_SCATTER:
        return mpi->ireduce_scatter_block(source, what->destination, count, type, op, comm, request);
    default:
        return mpi->ibcast(what->destination, count, type, (int)what->root, comm, request);
    }
}

/* The same with a count of 64 bits. */
static int call_large(const struct mlc_mpi *mpi, const struct mlc_collective *what, const void *source,
                      mlc_mpi_handle op, mlc_mpi_handle comm, mlc_mpi_handle *request)
{
    mlc_mpi_handle type = mpi->datatypes[what->dtype];
    int64_t count = what->count;

    switch (what->kind) {
    case MLC_ALL_REDUCE:
        return mpi->iallreduce_c(source, what->destination, count, type, op, comm, request);
    case MLC_ALL_GATHER:
        return mpi->iallgather_c(source, count, type, what->destination, count, type, comm, request);
    case MLC_REDUCE_SCATTER:
        return mpi->ireduce_scatter_block_c(source, what->destination, count, type, op, comm, request);
    default:
        return mpi->ibcast_c(what->destination, count, type, (int)what->root, comm, request);
    }
}

static bool has_large(const struct mlc_mpi *mpi)
{
    return mpi->iallreduce_c && mpi->iallgather_c && mpi->ireduce_scatter_block_c && mpi->ibcast_c;
}

/* What MPI takes as source: its mark for in place, where what is sent lies where it is needed. */
static const void *source_of(const struct mlc_mpi *mpi, const struct mlc_collective *what, uint32_t place)
{
    int64_t bytes = what->count * mlc_dtype_bytes(what->dtype);
    const char *own = what->destination;

    if (what->kind == MLC_ALL_GATHER)
        own += place * bytes;
    if (what->source == own)
        return mpi->in_place;
    if (what->kind == MLC_BROADCAST && place == what->root)
        memcpy(what->destination, what->source, (size_t)bytes);
    return what->source;
}

int mlc_mpi_start(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const struct mlc_collective *what,
                  mlc_mpi_handle *request, const struct mlc_error *error)
{
    const struct mlc_mpi *mpi = &world->mpi;
    mlc_mpi_handle op = NULL;
    bool large = what->count > INT_MAX;
    int status = 0;

    if (what->kind == MLC_ALL_REDUCE || what->kind == MLC_REDUCE_SCATTER)
        status = find_op(world, what, &op, error);
    if (status)
        return status;
    if (large && !has_large(mpi))
        return mlc_fail(error, -ENOTSUP, "rank %d: %s: %s takes at most 2^31 - 1 elements in a collective, here are %lld",
                        world->base.rank, what->label, mpi->version, (long long)what->count);
    const void *source = source_of(mpi, what, (uint32_t)group->place);
    int code = (large ? call_large : call_int)(mpi, what, source, op, group->comm, request);
    return code ? mlc_mpi_fail(world, code, what->label, error) : 0;
}
