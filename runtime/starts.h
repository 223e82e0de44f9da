/*
 * What each rank started last, for the others to compare: ranks that start different collectives where they should start
 * the same one would wait for each other, or combine numbers of different arrays.
 *
 * A rank publishes each start in the file of the watch, where the last MLC_STARTS are kept. The collectives of a group are
 * numbered by each of its members alike, whatever they do in other groups. Ranks without a file in common compare nothing.
 */
#ifndef MLC_STARTS_H
#define MLC_STARTS_H

#include "collective.h"
#include "watch.h"

enum { MLC_AGREEMENT = MLC_N_COLLECTIVES }; /* the kind of a start that is no program's */

/* What must be alike on all ranks of a group; `reduction` and `root` are 0 where the kind has none. */
struct mlc_started {
    uint64_t group, number; /* a hash of the group, and how many collectives it has started */
    uint64_t schedule;      /* of the program, or 0 */
    int64_t count;
    uint32_t kind, dtype, reduction, root;
};

/* `what` as all ranks of its group should see it. */
struct mlc_started mlc_started(const struct mlc_collective *what, uint64_t group, uint64_t number);

/* Publish what this rank starts. */
void mlc_starts_publish(struct mlc_watch *watch, const struct mlc_started *started, const char *label,
                        const char *inputs);

/*
 * Compare `mine`, which is published, with those of `members` (n of them; NULL: ranks 0 .. n - 1) that have started their
 * collective of the same number. -EPROTO where one differs: the text has both ranks and both collectives.
 */
int mlc_starts_check(struct mlc_watch *watch, const struct mlc_started *mine, const char *label, const char *inputs,
                     const uint32_t *members, int n, const struct mlc_error *error);

#endif
