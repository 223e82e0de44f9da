/* Turns one collective of a Plan into the MPI call that starts it, or into several where it is too large for one. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
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

/* How many elements one call takes: our own reductions count in an int, which a library may cut larger counts to. */
static int64_t most_of(const struct mlc_mpi *mpi, const struct mlc_collective *what)
{
    bool own = (what->kind == MLC_ALL_REDUCE || what->kind == MLC_REDUCE_SCATTER) &&
               mlc_mpi_reduce_function(what->dtype, what->reduction);
    return own && mpi->most > INT_MAX ? INT_MAX : mpi->most;
}

/* The blocks of a reduce_scatter so that what a piece takes of each member's is together, as MPI wants it. */
static void *pack(const struct mlc_collective *what, int64_t most)
{
    int64_t width = mlc_dtype_bytes(what->dtype);
    char *packed = malloc((size_t)(what->count * what->group_size * width)), *next = packed;

    for (int64_t first = 0; packed && first < what->count; first += most) {
        int64_t bytes = (what->count - first < most ? what->count - first : most) * width;
        for (uint32_t member = 0; member < what->group_size; member++, next += bytes)
            memcpy(next, (const char *)what->source + (member * what->count + first) * width, (size_t)bytes);
    }
    return packed;
}

/*
 * Piece `i` of a collective, of what one call takes; returns what MPI takes as its source. All ranks cut it alike.
 * The blocks of an all_gather are broadcast by their members, one after another: their pieces lie apart where they are
 * gathered.
 */
static const void *cut(const struct mlc_mpi *mpi, const struct mlc_collective *what, const void *packed,
                       const void *source, uint32_t i, struct mlc_collective *piece)
{
    int64_t most = most_of(mpi, what), width = mlc_dtype_bytes(what->dtype);
    uint32_t in_a_block = (uint32_t)((what->count - 1) / most + 1), member = i / in_a_block;
    int64_t first = i % in_a_block * most;

    *piece = *what;
    piece->count = what->count - first < most ? what->count - first : most;
    piece->destination = (char *)what->destination + (member * what->count + first) * width;
    if (what->kind == MLC_ALL_GATHER) {
        piece->kind = MLC_BROADCAST;
        piece->root = member;
    }
    if (packed)
        return (const char *)packed + first * what->group_size * width;
    return source == mpi->in_place ? source : (const char *)source + first * width;
}

/* Start a collective that is too large for one call as several, all at once: on every rank before what it starts next. */
static int start_pieces(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const struct mlc_collective *what,
                        const void *source, mlc_mpi_handle op, struct mlc_mpi_slot *flight,
                        const struct mlc_error *error)
{
    const struct mlc_mpi *mpi = &world->mpi;
    bool gathers = what->kind == MLC_ALL_GATHER, packs = what->kind == MLC_REDUCE_SCATTER;
    int64_t bytes = what->count * mlc_dtype_bytes(what->dtype), most = most_of(mpi, what);

    flight->n_pieces = (uint32_t)((gathers ? what->group_size : 1) * ((what->count - 1) / most + 1));
    flight->pieces = calloc(flight->n_pieces, sizeof *flight->pieces);
    flight->packed = packs ? pack(what, most) : NULL;
    if (!flight->pieces || (packs && !flight->packed)) {
        free(flight->pieces);
        free(flight->packed);
        return mlc_fail(error, -ENOMEM, "rank %d: %s: out of memory", world->base.rank, what->label);
    }
    if (gathers && source != mpi->in_place)
        memcpy((char *)what->destination + group->place * bytes, source, (size_t)bytes);
    for (uint32_t i = 0; i < flight->n_pieces; i++) {
        struct mlc_collective piece;
        const void *from = cut(mpi, what, flight->packed, source, i, &piece);
        int code = call_int(mpi, &piece, from, op, group->comm, &flight->pieces[i]);
        if (code)
            return mlc_mpi_fail(world, code, what->label, error); /* what is in flight reads `packed` on */
    }
    flight->request = flight->pieces[0];
    return 0;
}

int mlc_mpi_start(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const struct mlc_collective *what,
                  struct mlc_mpi_slot *flight, const struct mlc_error *error)
{
    const struct mlc_mpi *mpi = &world->mpi;
    mlc_mpi_handle op = NULL;
    int status = 0;

    if (what->kind == MLC_ALL_REDUCE || what->kind == MLC_REDUCE_SCATTER)
        status = find_op(world, what, &op, error);
    if (status)
        return status;
    const void *source = source_of(mpi, what, (uint32_t)group->place);
    if (what->count > most_of(mpi, what))
        return start_pieces(world, group, what, source, op, flight, error);
    bool large = what->count > INT_MAX;
    int code = (large ? call_large : call_int)(mpi, what, source, op, group->comm, &flight->request);
    return code ? mlc_mpi_fail(world, code, what->label, error) : 0;
}
