/*
 * Collectives as the walker asks for them: a world of ranks, a table of functions that an MPI, NCCL or a test fills.
 *
 * Every rank of a world runs the same program: it starts the same collectives in the same order, with the same counts.
 * An implementation embeds struct mlc_world as its first member. All calls for one world come from one thread at a
 * time (THREAD_SERIALIZED): worker 0 of the run that holds the world.
 */
#ifndef MLC_COLLECTIVE_H
#define MLC_COLLECTIVE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { MLC_COLLECTIVE_SLOTS = 64 }; /* collectives that may be in flight in one world at the same time */

/* In the order of mlc.ir.plan.data.COLLECTIVES and REDUCTIONS. */
enum mlc_collective_kind { MLC_ALL_REDUCE, MLC_ALL_GATHER, MLC_REDUCE_SCATTER, MLC_BROADCAST, MLC_N_COLLECTIVES };
enum mlc_reduction { MLC_ADD, MLC_MULTIPLY, MLC_MAXIMUM, MLC_MINIMUM, MLC_AND, MLC_OR, MLC_XOR, MLC_N_REDUCTIONS };

/*
 * One collective. `source` and `destination` are the same (in place) or do not overlap; they stay as they are until
 * the collective is done. `count` is in elements of `dtype` (a position in mlc.ir.types.DTYPES: mlc_dtype_bytes,
 * mlc_dtype_name) and may be 0:
 *   all_reduce          source[count] -> destination[count]
 *   all_gather          source[count] -> destination[group_size * count], blocks in the order of the group; in place:
 *                       this rank's block lies at its place in destination, and source points to it
 *   reduce_scatter      source[group_size * count] -> destination[count]; in place: destination is source
 *   collective_broadcast source[count] of member `root` of each group -> destination[count] of all of the group
 * and/or/xor are logical for bool (a byte of 0 or 1), bitwise for integers; maximum and minimum pass on NaN.
 *
 * `ranks` are the ranks of the world, each once, in groups of `group_size` one behind the other; a collective is among
 * the ranks of a group. n_ranks == group_size is the whole world.
 */
struct mlc_collective {
    uint32_t kind, dtype, reduction, root;
    struct mlc_device *device; /* whose memory the buffers are in, held by the caller; NULL is the host */
    const void *source;
    void *destination;
    int64_t count;
    const uint32_t *ranks;
    uint32_t n_ranks, group_size;
    const char *label; /* op, scope and user line, for errors; lives as long as the program */
    uint64_t schedule; /* what the ranks agreed on, and the types of `inputs`; or 0 */
    const char *inputs; /* what the program is called with, where all ranks of a group call it alike, or NULL; as label */
};

/* Asked about every 50 ms on the calling thread; other than 0 means stop. NULL asks nobody. */
typedef int (*mlc_poll)(void *data);

/*
 * A world of `size` ranks, of which this process is `rank`. Functions return 0 or a negative errno value with one line
 * of text in `error`, which names rank, collective and label. After an error the world is of no more use but to close.
 */
struct mlc_world {
    int rank, size;

    /*
     * Make sure that all ranks are about to run a program with the same collectives: `schedule` is a hash of their
     * kinds, types, counts and groups. Blocking, to the deadline. -EPROTO where ranks differ: the text has both
     * hashes, the ranks, and this rank's `program`.
     */
    int (*agree)(struct mlc_world *world, const char *program, uint64_t schedule, const struct mlc_error *error);

    /*
     * Start `what` in `slot` < MLC_COLLECTIVE_SLOTS, which is free. *what itself may go when this returns; its
     * buffers, ranks and label stay. -ENOTSUP for an element type or reduction that the library cannot do. -EPROTO,
     * here or in `wait`, where another rank is seen to have started something else in its place.
     */
    int (*start)(struct mlc_world *world, uint32_t slot, const struct mlc_collective *what,
                 const struct mlc_error *error);

    /* Give everything in flight the chance to move on; never blocks, cheap where nothing is in flight. */
    int (*progress)(struct mlc_world *world, const struct mlc_error *error);

    /*
     * Return when the collective in `slot` is done, at once where nothing is in it; the slot is free then. Polls
     * everything in flight, to the world's deadline. -EINTR where `poll` says so. -ETIMEDOUT, unless the implementation
     * ends the process with 75 instead.
     */
    int (*wait)(struct mlc_world *world, uint32_t slot, mlc_poll poll, void *data, const struct mlc_error *error);

    /* Leave the world and free it. Nothing may be in flight. */
    void (*close)(struct mlc_world *world);
};

#endif
