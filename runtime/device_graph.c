/* Finds the segments of a Plan and captures and replays them. */
#include "device_graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A step that a graph of device `number` may have: nothing of the host's is read or written. */
static bool is_inside(const struct mlc_plan *plan, const struct mlc_step *step, uint32_t number)
{
    if (step->kind == MLC_LAUNCH)
        return step->device == number && !(step->flags & MLC_BARRIER);
    return step->kind == MLC_COPY && !(step->flags & MLC_BARRIER) && mlc_slot_device(plan, step->operands[0].slot) == number &&
           mlc_slot_device(plan, step->operands[1].slot) == number;
}

/* Where each part of a loop or branch begins: a segment does not go across. */
static bool *part_begins(const struct mlc_plan *plan)
{
    bool *begins = calloc(plan->n_steps + 1, sizeof *begins);

    for (uint32_t i = 0; begins && i < plan->n_steps; i++) {
        uint32_t at = i + 1;
        for (uint32_t p = 0; p < plan->steps[i].n_parts; p++) {
            begins[at] = true;
            at += plan->steps[i].parts[p];
            begins[at] = true; /* as does what follows the whole */
        }
    }
    return begins;
}

static void name(const struct mlc_plan *plan, const struct mlc_step *step, struct mlc_launches *launches)
{
    const char *kernel = step->kind == MLC_LAUNCH ? plan->kernels[step->kernel] : "copy";
    mlc_launches_add(launches, &(struct mlc_launches){1, kernel, step->label, kernel, step->label});
}

struct mlc_segment *mlc_segments_find(const struct mlc_plan *plan, uint32_t number)
{
    struct mlc_segment *segments = calloc(plan->n_steps + 1, sizeof *segments);
    bool *begins = part_begins(plan);

    for (uint32_t i = 0; segments && begins && i < plan->n_steps;) {
        uint32_t end = i;
        while (end < plan->n_steps && (end == i || !begins[end]) && is_inside(plan, &plan->steps[end], number))
            name(plan, &plan->steps[end++], &segments[i].launches);
        segments[i].end = end > i + 1 ? end : i; /* one launch is as fast by itself */
        i = end > i ? end : i + 1;
    }
    if (!begins) {
        free(segments);
        segments = NULL;
    }
    free(begins);
    return segments;
}

static void forget(struct mlc_recorded *recorded, struct mlc_device *device)
{
    if (recorded->exec && device)
        device->cuda.GraphExecDestroy(recorded->exec);
    free(recorded->words);
    *recorded = (struct mlc_recorded){0};
}

void mlc_segments_free(const struct mlc_plan *plan, struct mlc_device *device, struct mlc_segment *segments)
{
    for (uint32_t i = 0; segments && i < plan->n_steps; i++)
        for (int k = 0; k < MLC_MOST_GRAPHS; k++)
            forget(&segments[i].recorded[k], device);
    free(segments);
}

/* What was recorded for these words, or NULL. */
static struct mlc_recorded *find(struct mlc_segment *segment, const int64_t *words, size_t n_words)
{
    for (int k = 0; k < MLC_MOST_GRAPHS; k++) {
        struct mlc_recorded *recorded = &segment->recorded[k];
        if (recorded->words && memcmp(recorded->words, words, n_words * sizeof *words) == 0)
            return recorded;
    }
    return NULL;
}

/* Remember the words in place of those that were used least lately. Without memory they stay new. */
static void note(struct mlc_segment *segment, struct mlc_device *device, const int64_t *words, size_t n_words)
{
    struct mlc_recorded *oldest = &segment->recorded[0];

    for (int k = 1; k < MLC_MOST_GRAPHS; k++)
        if (segment->recorded[k].used < oldest->used)
            oldest = &segment->recorded[k];
    forget(oldest, device);
    oldest->words = malloc((n_words + 1) * sizeof *words);
    if (oldest->words)
        memcpy(oldest->words, words, n_words * sizeof *words);
    oldest->used = ++segment->clock;
}

/* Capture what `put` puts on the stream. */
static int capture(struct mlc_recorded *recorded, struct mlc_device *device, int (*put)(void *data), void *data,
                   const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &device->cuda;
    CUgraph graph = NULL;
    int status = mlc_device_check(device, cuda->StreamBeginCapture(device->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                                  error, "no graph can be captured");
    if (status)
        return status;
    struct mlc_launches pending = device->pending;
    status = put(data);
    device->pending = pending;
    CUresult result = cuda->StreamEndCapture(device->stream, &graph);
    if (!status)
        status = mlc_device_check(device, result, error, "its steps are no graph");
    if (!status)
        status = mlc_device_check(device, cuda->GraphInstantiate(&recorded->exec, graph, 0), error,
                                  "its steps cannot be replayed");
    if (graph)
        cuda->GraphDestroy(graph);
    return status;
}

/* The whole segment counts as launched. */
static int replay(struct mlc_segment *segment, struct mlc_device *device, struct mlc_recorded *recorded,
                  const struct mlc_error *error)
{
    recorded->used = ++segment->clock;
    mlc_launches_add(&device->pending, &segment->launches);
    return mlc_device_check_late(device, device->cuda.GraphLaunch(recorded->exec, device->stream), error,
                                 "a graph of kernels cannot be launched");
}

int mlc_segment_run(struct mlc_segment *segment, struct mlc_device *device, const int64_t *words, size_t n_words,
                    int (*put)(void *data), void *data, const struct mlc_error *error)
{
    struct mlc_recorded *recorded = find(segment, words, n_words);

    if (!recorded) {
        note(segment, device, words, n_words);
        return put(data);
    }
    if (!recorded->exec) {
        int status = capture(recorded, device, put, data, error);
        if (status)
            return status;
    }
    return replay(segment, device, recorded, error);
}
