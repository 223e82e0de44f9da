/* The steps of a run that happen on devices: worker 0 puts them on their streams. */
#ifndef MLC_WALK_DEVICE_H
#define MLC_WALK_DEVICE_H

#include "program.h"

/* A run as its device steps see it. The tables are the run's; `arguments` and `words` are room for what is handed over. */
struct mlc_device_walk {
    const struct mlc_program *program;
    void **slots;
    const struct mlc_values *values;
    const struct mlc_error *error;
    void **pointers; /* max_operands */
    int64_t *sizes;  /* max_sizes */
    void **arguments; /* max_operands + max_sizes */
    int64_t *words;   /* n_slots + n_sizes */
};

/*
 * Hold all devices of the program, take their arenas and fill in the slots of arenas and constants. On an error nothing
 * is held. -ENODEV where a device was not attached.
 */
int mlc_device_walk_begin(const struct mlc_device_walk *walk);

/* Give the arenas back and release the devices. */
void mlc_device_walk_end(const struct mlc_device_walk *walk);

/* Whether step `i` is one of a device's: a launch there, or a copy from or to its memory. */
bool mlc_is_device_step(const struct mlc_plan *plan, const struct mlc_step *step);

/* Put step `i`, which is one of a device's and whose places are inside of their buffers, on its stream. */
int mlc_device_walk_step(const struct mlc_device_walk *walk, uint32_t i);

/* The same, and wait: *nanoseconds becomes the time that it took on the device. */
int mlc_device_walk_timed(const struct mlc_device_walk *walk, uint32_t i, int64_t *nanoseconds);

/* The end of the steps from `i` on that are run at once, as a graph; `i` where there are none. */
uint32_t mlc_device_walk_segment(const struct mlc_program *program, uint32_t i);
int mlc_device_walk_run_segment(const struct mlc_device_walk *walk, uint32_t i);

/* Copy `bytes` bytes at `operand`, in a device's memory, to the host: what a loop or branch goes by. */
int mlc_device_walk_read(const struct mlc_device_walk *walk, const struct mlc_operand *operand, void *to, size_t bytes);

/* An input's memory becomes its output's: copy it there. */
int mlc_device_walk_take_over(const struct mlc_device_walk *walk, uint32_t device, void *to, const void *from, size_t bytes);

#endif
