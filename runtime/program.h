/* A program: a decoded Plan with its kernels and constants, and the tables that a run needs. */
#ifndef MLC_PROGRAM_H
#define MLC_PROGRAM_H

#include "device_program.h"
#include "mlc.h"
#include "plan.h"

/* The values that depend on the symbols: one per size of the Plan, one number of tasks per step. */
struct mlc_values {
    int64_t *sizes;
    int64_t *tasks;
    bool parallel; /* some step has work for two threads */
};

/* Where things lie in the context's memory; bytes, multiples of MLC_ALIGNMENT. */
struct mlc_layout {
    size_t tables, arena;            /* shared: slots, values and what worker 0 hands to devices; arena */
    size_t pointers, sizes, scratch; /* of one worker, in this order */
    size_t worker;                   /* their sum */
};

/* The world whose ranks have last agreed on a program's collectives, and on which ones. */
struct mlc_agreement {
    const struct mlc_world *world;
    uint64_t schedule;
    uint64_t called;  /* the schedule and, of data_parallel, the types of the inputs */
    char inputs[120]; /* their text, the last first, as far as it fits; or "" */
};

struct mlc_program {
    struct mlc_plan plan;
    const mlc_kernel *kernels;
    const void *const *constants;
    uint32_t n_slots;
    struct mlc_layout layout;
    struct mlc_values fixed; /* the values of a Plan without symbols, computed once */
    struct mlc_agreement *agreement; /* changed by the runs of one world, which follow one another */
    struct mlc_attached **attached; /* one per device of the Plan, NULL before mlc_program_attach */
};

/*
 * Give `program`, which nobody runs yet, device `number` (from 1) of its Plan, held by the caller, who keeps it open as
 * long as the program lives; images as for mlc_attach. Errors as there, -EINVAL where the Plan has no such device.
 */
int mlc_program_attach(struct mlc_program *program, uint32_t number, struct mlc_device *device,
                       const struct mlc_image *images, size_t n_images, const struct mlc_error *error);

/*
 * Evaluate all sizes and task counts of `program` for `symbols` into `values`, whose tables the caller provides.
 * -EINVAL for a symbol out of bounds, -EOVERFLOW.
 */
int mlc_program_evaluate(const struct mlc_program *program, const int64_t *symbols, struct mlc_values *values,
                         const struct mlc_error *error);

#endif
