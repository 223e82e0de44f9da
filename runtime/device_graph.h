/*
 * Runs of steps on a device that are replayed as one CUDA graph: what a call with the same memory did before.
 *
 * A call whose pointers and sizes were seen once is captured, later ones replay it. A training loop meets few sets of
 * pointers: results take over donated memory, and freed blocks are used again in order.
 */
#ifndef MLC_DEVICE_GRAPH_H
#define MLC_DEVICE_GRAPH_H

#include "device.h"
#include "plan.h"

enum { MLC_MOST_GRAPHS = 4 }; /* of one segment */

/* A graph and the words (pointers and sizes) that it was captured with; no exec: they were seen, once. */
struct mlc_recorded {
    int64_t *words;
    CUgraphExec exec;
    uint64_t used;
};

/* Steps [i, end) of a Plan that all run on one device and wait for nobody; none where end is i. */
struct mlc_segment {
    uint32_t end;
    struct mlc_launches launches;
    uint64_t clock;
    struct mlc_recorded recorded[MLC_MOST_GRAPHS];
};

/* One segment per step of `plan`, those on device `number` found; NULL where memory is out. */
struct mlc_segment *mlc_segments_find(const struct mlc_plan *plan, uint32_t number);

/* Free them, and their graphs where `device` is held; NULL leaves those to the driver. */
void mlc_segments_free(const struct mlc_plan *plan, struct mlc_device *device, struct mlc_segment *segments);

/*
 * Run a segment: `put(data)` puts its steps on the stream one by one and returns 0 or an error; with `words` seen before
 * that is captured, or left out for a replay of what was. Errors as mlc_cuda_check.
 */
int mlc_segment_run(struct mlc_segment *segment, struct mlc_device *device, const int64_t *words, size_t n_words,
                    int (*put)(void *data), void *data, const struct mlc_error *error);

#endif
