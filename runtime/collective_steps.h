/* What the walker needs to do the collective steps of a Plan in a world. For worker 0. */
#ifndef MLC_COLLECTIVE_STEPS_H
#define MLC_COLLECTIVE_STEPS_H

#include "collective.h"
#include "program.h"

/*
 * Before a run: all ranks of `world` are about to run the same collectives. Asks them only where they have not agreed
 * on these before. 0 where the program has none. -ENOTCONN without a world (NULL) or in one of another size; else what
 * the world says.
 */
int mlc_collectives_agree(const struct mlc_program *program, const struct mlc_values *values, struct mlc_world *world,
                          const struct mlc_error *error);

/* Start the collective of `step` in `world`. */
int mlc_collective_start(const struct mlc_program *program, const struct mlc_step *step, void *source, void *destination,
                         int64_t count, struct mlc_world *world, const struct mlc_error *error);

/* Bytes at the source and the destination of a collective of `count` elements; false for a bad count. */
bool mlc_collective_bytes(const struct mlc_step *step, int64_t count, int64_t *source, int64_t *destination);

#endif
