/*
 * Walks a program's steps: all workers together, each with its share of every launch.
 *
 * The tasks of a launch are cut into as many ranges as there are workers, by their number alone; kernels give the same
 * bits however the range is cut. Steps without the barrier flag may overlap in time; a serial step runs on worker 0.
 * Before each trip of a loop and at each branch all workers meet, and the last to arrive reads for all where to go on.
 * Worker 0 alone speaks to the world of a program with collectives: it starts them, waits for them, and while some are
 * in flight cuts its share of a launch into pieces, between which it lets them progress.
 * Steps of devices are serial: worker 0 puts them on their streams (walk_device.c), and waits where the host reads.
 */
#define _GNU_SOURCE /* clock_gettime */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "collective_steps.h"
#include "context.h"
#include "program.h"
#include "walk_device.h"

#ifdef CLOCK_MONOTONIC_COARSE
#define POLL_CLOCK CLOCK_MONOTONIC_COARSE
#else
#define POLL_CLOCK CLOCK_MONOTONIC
#endif

enum { PIECES = 16 }; /* of a launch while collectives are in flight: progress comes several times in a long one */

/* One run: what all workers read. */
struct run {
    const struct mlc_program *program;
    struct mlc_context *context;
    void **slots; /* base pointers: inputs, outputs, constants, arenas */
    struct mlc_values values;
    char *workers; /* memory of worker 0, 1, ... */
    int n_workers;
    int64_t *nanoseconds; /* per step, or NULL; written by worker 0 alone */
    int64_t lap;          /* when worker 0 last looked at the clock */
    uint32_t in_flight;   /* collectives; of worker 0 */
    int world_status;     /* what the world failed with, whose text is the context's; of worker 0 */
    struct mlc_device_walk devices;
    unsigned char decision[4]; /* what a loop or branch goes by, where a device has it; written by worker 0 */
    bool told;                 /* worker 0 has said in the context what went wrong */
};

/* This worker's own memory. */
struct lane {
    int worker;
    void **pointers;
    int64_t *sizes;
    void *scratch;
};

static void *address(const struct run *run, const struct mlc_operand *operand)
{
    return (char *)run->slots[operand->slot] + operand->offset;
}

/* The first task of `worker`: the first n % workers workers take one more than the others. */
static int64_t first_task(int64_t n, int64_t worker, int64_t workers)
{
    int64_t extra = n % workers;
    return worker * (n / workers) + (worker < extra ? worker : extra);
}

/* Let what is in flight move on. A failure is kept for the end of the run; for worker 0. */
static int progress(struct run *run)
{
    struct mlc_world *world = run->context->world;

    if (run->in_flight && !run->world_status)
        run->world_status = world->progress(world, &run->context->error);
    return run->world_status;
}

/* Worker 0's share of a launch, with progress after each piece of it. */
static void launch_in_pieces(struct run *run, mlc_kernel kernel, int64_t begin, int64_t end, const struct lane *lane)
{
    int64_t piece = (end - begin + PIECES - 1) / PIECES;

    for (; begin < end; begin += piece) {
        kernel(lane->pointers, lane->sizes, begin, end - begin < piece ? end : begin + piece, lane->scratch);
        progress(run);
    }
}

static void launch(struct run *run, const struct mlc_step *step, int64_t tasks, const struct lane *lane)
{
    int64_t begin = 0, end = tasks;

    if (!(step->flags & MLC_SERIAL)) {
        begin = first_task(tasks, lane->worker, run->n_workers);
        end = first_task(tasks, lane->worker + 1, run->n_workers);
    }
    if (begin >= end)
        return;
    for (uint32_t i = 0; i < step->n_operands; i++)
        lane->pointers[i] = address(run, &step->operands[i]);
    for (uint32_t i = 0; i < step->n_sizes; i++)
        lane->sizes[i] = run->values.sizes[step->sizes[i]];
    mlc_kernel kernel = run->program->kernels[step->kernel];
    if (!run->in_flight || lane->worker != 0)
        kernel(lane->pointers, lane->sizes, begin, end, lane->scratch);
    else
        launch_in_pieces(run, kernel, begin, end, lane);
}

/* Bytes of the memory behind `slot` in this run; false where a type's size is negative or overflows. */
static bool slot_bytes(const struct run *run, uint32_t slot, int64_t *out)
{
    const struct mlc_plan *plan = &run->program->plan;

    if (slot < plan->n_inputs)
        return mlc_type_bytes(&plan->inputs[slot].type, run->values.sizes, out);
    slot -= plan->n_inputs;
    if (slot < plan->n_outputs)
        return mlc_type_bytes(&plan->outputs[slot].type, run->values.sizes, out);
    slot -= plan->n_outputs;
    if (slot < plan->n_constants)
        return mlc_type_bytes(&plan->constants[slot].type, run->values.sizes, out);
    slot -= plan->n_constants;
    *out = slot ? plan->devices[slot - 1].arena_bytes : plan->arena_bytes;
    return true;
}

static bool fits(const struct run *run, const struct mlc_operand *operand, int64_t bytes)
{
    int64_t limit;
    return bytes >= 0 && slot_bytes(run, operand->slot, &limit) && bytes <= limit && operand->offset <= limit - bytes;
}

/* Each worker copies its share, in blocks of a page, so that workers do not share cache lines. */
static int copy(const struct run *run, const struct mlc_step *step, const struct lane *lane)
{
    const int64_t page = 4096, bytes = run->values.sizes[step->sizes[0]];
    const struct mlc_operand *destination = &step->operands[0], *source = &step->operands[1];

    if (!fits(run, destination, bytes) || !fits(run, source, bytes))
        return -ERANGE;
    int64_t begin = 0, end = bytes;
    if (!(step->flags & MLC_SERIAL)) {
        int64_t pages = (bytes + page - 1) / page;
        begin = first_task(pages, lane->worker, run->n_workers) * page;
        end = first_task(pages, lane->worker + 1, run->n_workers) * page;
        end = end < bytes ? end : bytes;
    }
    if (begin < end)
        memmove((char *)address(run, destination) + begin, (char *)address(run, source) + begin, (size_t)(end - begin));
    return 0;
}

/* In a profiled run: the time since worker 0 last looked goes to step `i`. */
static void charge(struct run *run, uint32_t i, const struct lane *lane)
{
    if (!run->nanoseconds || lane->worker != 0)
        return;
    int64_t now = mlc_clock_now();
    run->nanoseconds[i] += now - run->lap;
    run->lap = now;
}

static struct lane lane_of(const struct run *run, int worker)
{
    const struct mlc_layout *layout = &run->program->layout;
    char *memory = run->workers + (size_t)worker * layout->worker;

    return (struct lane){worker, (void **)memory, (int64_t *)(memory + layout->pointers),
                         memory + layout->pointers + layout->sizes};
}

static int64_t read_bool(const void *at)
{
    return *(const unsigned char *)at != 0;
}

static int64_t read_i32(const void *at)
{
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Whether the caller wants to stop; looks at the clock, and asks rarely. For worker 0. */
static bool is_stopped(struct mlc_context *context)
{
    struct timespec now;

    if (!context->poll)
        return false;
    clock_gettime(POLL_CLOCK, &now);
    int64_t milliseconds = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (milliseconds < context->next_poll)
        return false;
    context->next_poll = milliseconds + 50;
    return context->poll(context->poll_data) != 0;
}

/* One worker on its way through the steps. */
struct walker {
    struct mlc_pool *pool;
    struct run *run;
    struct lane lane;
};

/* Note that a device step failed, whose text is there. */
static void tell(struct walker *w, int status)
{
    w->run->told = true;
    mlc_pool_post(w->pool, status);
}

/* Where the value that a loop or branch goes by can be read; NULL after an error. */
static const void *decision_of(struct walker *w, const struct mlc_operand *operand, size_t bytes)
{
    struct run *run = w->run;

    if (!mlc_slot_device(&run->program->plan, operand->slot))
        return address(run, operand);
    if (w->lane.worker == 0) {
        int status = mlc_device_walk_read(&run->devices, operand, run->decision, bytes);
        if (status)
            tell(w, status);
        if (status && run->n_workers == 1)
            return NULL;
    }
    return run->decision;
}

/* The value that a loop or branch goes by, the same for all workers; false where the walk ends with an error. */
static bool decide(struct walker *w, uint32_t i, int64_t *value)
{
    const struct mlc_step *step = &w->run->program->plan.steps[i];
    bool loop = step->kind == MLC_LOOP;
    mlc_pool_reader read = loop ? read_bool : read_i32;

    if (!fits(w->run, &step->operands[0], loop ? 1 : 4)) { /* for all workers alike */
        mlc_pool_post(w->pool, -ERANGE);
        return false;
    }
    const void *at = decision_of(w, &step->operands[0], loop ? 1 : 4);
    if (!at)
        return false;
    if (w->run->n_workers > 1) {
        bool fine = mlc_pool_decide(w->pool, read, at, value) == 0;
        charge(w->run, i, &w->lane);
        return fine;
    }
    *value = read(at);
    return true;
}

static bool walk_steps(struct walker *w, uint32_t begin, uint32_t end);

static bool walk_loop(struct walker *w, uint32_t i)
{
    const struct mlc_step *step = &w->run->program->plan.steps[i];
    int64_t go_on;

    while (decide(w, i, &go_on)) {
        if (!go_on)
            return true;
        if (!walk_steps(w, i + 1, i + 1 + step->parts[0]))
            return false;
        if (w->lane.worker == 0 && is_stopped(w->run->context)) {
            mlc_pool_post(w->pool, -EINTR);
            if (w->run->n_workers == 1)
                return false;
        }
    }
    return false;
}

static bool walk_branch(struct walker *w, uint32_t i)
{
    const struct mlc_step *step = &w->run->program->plan.steps[i];
    uint32_t begin = i + 1, last = step->n_parts - 1, taken = last;
    int64_t index;

    if (!decide(w, i, &index))
        return false;
    if (0 <= index && index < last)
        taken = (uint32_t)index;
    for (uint32_t p = 0; p < taken; p++)
        begin += step->parts[p];
    return walk_steps(w, begin, begin + step->parts[taken]);
}

static int interrupted(void *context)
{
    return is_stopped(context);
}

/* A step that speaks to the world. For worker 0. */
static int communicate(struct run *run, const struct mlc_step *step)
{
    struct mlc_context *context = run->context;
    struct mlc_world *world = context->world;

    if (step->kind == MLC_PROGRESS || run->world_status)
        return progress(run);
    if (step->kind == MLC_COLLECTIVE_DONE) {
        run->world_status = world->wait(world, step->slot, interrupted, context, &context->error);
        run->in_flight -= run->in_flight > 0;
        return run->world_status;
    }
    const struct mlc_operand *destination = &step->operands[0], *source = &step->operands[1];
    int64_t count = run->values.sizes[step->sizes[0]], reads, writes;
    if (!mlc_collective_bytes(step, count, &reads, &writes) || !fits(run, source, reads) || !fits(run, destination, writes))
        return -ERANGE;
    run->world_status = mlc_collective_start(run->program, step, address(run, source), address(run, destination),
                                             count, world, &context->error);
    run->in_flight += !run->world_status;
    return run->world_status;
}

/* A launch or copy of a device, by worker 0. */
static int step_on_device(struct run *run, uint32_t i)
{
    return run->nanoseconds ? mlc_device_walk_timed(&run->devices, i, &run->nanoseconds[i])
                            : mlc_device_walk_step(&run->devices, i);
}

/* The steps from `i` on that a device runs at once; false where the walk ends. */
static bool walk_segment(struct walker *w, uint32_t i)
{
    int status = w->lane.worker == 0 ? mlc_device_walk_run_segment(&w->run->devices, i) : 0;

    if (status)
        tell(w, status);
    return !status || w->run->n_workers > 1;
}

/* A launch, a copy, or a step that speaks to the world. */
static bool walk_plain(struct walker *w, uint32_t i)
{
    struct run *run = w->run;
    const struct mlc_step *step = &run->program->plan.steps[i];

    if ((step->flags & MLC_BARRIER) && run->n_workers > 1) {
        if (mlc_pool_meet(w->pool))
            return false;
        charge(run, i ? i - 1 : 0, &w->lane); /* the wait is for those who are still at the step before */
    }
    bool alone = (step->flags & MLC_SERIAL) || step->kind >= MLC_COLLECTIVE_START;
    if (alone && w->lane.worker != 0)
        return true;
    int status = 0;
    if (run->program->plan.n_devices && mlc_is_device_step(&run->program->plan, step)) {
        status = step_on_device(run, i);
        run->told |= status != 0;
        run->lap = run->nanoseconds ? mlc_clock_now() : 0;
    } else if (step->kind == MLC_LAUNCH)
        launch(run, step, run->values.tasks[i], &w->lane);
    else if (step->kind == MLC_COPY)
        status = copy(run, step, &w->lane);
    else
        status = communicate(run, step);
    if (status)
        mlc_pool_post(w->pool, status);
    charge(run, i, &w->lane);
    return !status || run->n_workers > 1;
}

/* Walk steps [begin, end); false where a barrier tells of an error. Nested as deep as the Plan, at most MLC_MAX_NESTING. */
static bool walk_steps(struct walker *w, uint32_t begin, uint32_t end)
{
    const struct mlc_program *program = w->run->program;
    const struct mlc_step *steps = program->plan.steps;
    const bool segments = program->plan.n_devices && !w->run->nanoseconds; /* a profile has the time of each step */

    for (uint32_t i = begin; i < end; i++) {
        uint32_t segment = segments ? mlc_device_walk_segment(program, i) : i;
        if (segment > i) {
            if (!walk_segment(w, i))
                return false;
            i = segment - 1;
            continue;
        }
        bool nest = steps[i].kind == MLC_LOOP || steps[i].kind == MLC_BRANCH;
        bool fine = !nest ? walk_plain(w, i) : steps[i].kind == MLC_LOOP ? walk_loop(w, i) : walk_branch(w, i);
        if (!fine)
            return false;
        for (uint32_t p = 0, n = steps[i].n_parts, at = i; nest && p < n; p++)
            i += steps[at].parts[p];
    }
    return true;
}

/* The team function: walk all steps as `worker`. */
static void walk(struct mlc_pool *pool, void *data, int worker)
{
    struct run *run = data;
    struct walker walker = {pool, run, lane_of(run, worker)};

    if (worker == 0)
        run->context->began = true;
    walk_steps(&walker, 0, run->program->plan.n_steps);
}

/* The tables' end is what worker 0 hands to devices. */
static void lend_to_devices(struct run *run)
{
    const struct mlc_program *program = run->program;
    const struct mlc_plan *plan = &program->plan;
    void **pointers = run->slots + program->n_slots + plan->n_sizes + plan->n_steps;
    void **arguments = pointers + plan->max_operands + plan->max_sizes;

    run->devices = (struct mlc_device_walk){
        .program = program, .slots = run->slots, .values = &run->values, .error = &run->context->error,
        .pointers = pointers, .sizes = (int64_t *)(pointers + plan->max_operands), .arguments = arguments,
        .words = (int64_t *)(arguments + plan->max_operands + plan->max_sizes),
    };
}

/* Provide memory for the tables, the arena and the workers, and evaluate the sizes. */
static int prepare(struct run *run, const int64_t *symbols)
{
    const struct mlc_program *program = run->program;
    const struct mlc_layout *layout = &program->layout;
    struct mlc_context *context = run->context;
    size_t shared = layout->tables + layout->arena, total;
    size_t workers = (size_t)context->pool.threads;

    if (__builtin_mul_overflow(workers, layout->worker, &total) || __builtin_add_overflow(total, shared, &total))
        total = SIZE_MAX;
    char *memory = mlc_context_reserve(context, total);
    if (!memory)
        return mlc_fail(&context->error, -ENOMEM,
                        "%s: out of memory: temporaries take %zu bytes and scratch %zu bytes on each of %zu threads",
                        program->plan.name, layout->arena, layout->scratch, workers);
    run->slots = (void **)memory;
    run->slots[program->n_slots - 1 - program->plan.n_devices] = memory + layout->tables;
    run->workers = memory + shared;
    run->values = program->fixed;
    lend_to_devices(run);
    if (program->plan.n_symbols) {
        run->values.sizes = (int64_t *)memory + program->n_slots;
        run->values.tasks = run->values.sizes + program->plan.n_sizes;
        return mlc_program_evaluate(program, symbols, &run->values, &context->error);
    }
    return 0;
}

/* Check one caller's pointer, a multiple of `alignment`, and give it to `slot`; *bytes becomes the size of the value. */
static int bind_pointer(struct run *run, const struct mlc_value *value, void *pointer, uint32_t alignment, uint32_t slot,
                        int64_t *bytes)
{
    const struct mlc_error *error = &run->context->error;
    const char *plan = run->program->plan.name;

    if (!mlc_type_bytes(&value->type, run->values.sizes, bytes))
        return mlc_fail(error, -EOVERFLOW, "%s: the size of %s is negative or overflows", plan, value->name);
    if (!pointer && *bytes)
        return mlc_fail(error, -EINVAL, "%s: no memory was given for %s", plan, value->name);
    if ((uintptr_t)pointer % alignment && *bytes)
        return mlc_fail(error, -EINVAL, "%s: the memory of %s is not aligned to %u bytes", plan, value->name, alignment);
    run->slots[slot] = pointer;
    return 0;
}

/* A donated input lives on in its output's memory. */
static int take_over(struct run *run, uint32_t input, int64_t bytes)
{
    const struct mlc_plan *plan = &run->program->plan;
    uint32_t output = (uint32_t)plan->inputs[input].donated_to;
    void *target = run->slots[plan->n_inputs + output];
    int64_t room;

    if (!mlc_type_bytes(&plan->outputs[output].type, run->values.sizes, &room) || room != bytes)
        return mlc_fail(&run->context->error, -EINVAL, "%s: donated input %s and output %s differ in size", plan->name,
                        plan->inputs[input].name, plan->outputs[output].name);
    uint32_t device = plan->inputs[input].device;
    if (run->slots[input] != target && bytes && device) {
        int status = mlc_device_walk_take_over(&run->devices, device, target, run->slots[input], (size_t)bytes);
        if (status)
            return status;
    } else if (run->slots[input] != target && bytes) {
        memcpy(target, run->slots[input], (size_t)bytes);
    }
    run->slots[input] = target;
    return 0;
}

static int bind_pointers(struct run *run, void *const *inputs, void *const *outputs)
{
    const struct mlc_plan *plan = &run->program->plan;
    int64_t bytes;
    int status = 0;

    for (uint32_t i = 0; !status && i < plan->n_outputs; i++)
        status = bind_pointer(run, &plan->outputs[i], outputs[i], MLC_ALIGNMENT, plan->n_inputs + i, &bytes);
    for (uint32_t i = 0; !status && i < plan->n_inputs; i++) {
        uint32_t alignment = plan->inputs[i].device ? MLC_VECTOR_BYTES : mlc_dtype_bytes(plan->inputs[i].type.dtype);
        status = bind_pointer(run, &plan->inputs[i], inputs[i], alignment, i, &bytes);
        if (!status && plan->inputs[i].donated_to >= 0)
            status = take_over(run, i, bytes);
    }
    return status;
}

static void bind_constants(struct run *run)
{
    const struct mlc_plan *plan = &run->program->plan;

    if (plan->n_constants)
        memcpy(run->slots + plan->n_inputs + plan->n_outputs, run->program->constants, plan->n_constants * sizeof(void *));
}

/* Copies of devices stay inside of their buffers, for all of the run. */
static int check_device_copies(const struct run *run)
{
    const struct mlc_plan *plan = &run->program->plan;

    for (uint32_t i = 0; plan->n_devices && i < plan->n_steps; i++) {
        const struct mlc_step *step = &plan->steps[i];
        if (step->kind != MLC_COPY || !mlc_is_device_step(plan, step))
            continue;
        int64_t bytes = run->values.sizes[step->sizes[0]];
        if (!fits(run, &step->operands[0], bytes) || !fits(run, &step->operands[1], bytes))
            return mlc_fail(&run->context->error, -ERANGE, "%s: a step lies outside its buffer", plan->name);
    }
    return 0;
}

/* Walk, when all pointers are known. */
static int run_steps(struct run *run)
{
    struct mlc_context *context = run->context;
    const struct mlc_plan *plan = &run->program->plan;

    run->n_workers = run->values.parallel ? context->pool.threads : 1;
    if (run->nanoseconds) {
        memset(run->nanoseconds, 0, plan->n_steps * sizeof *run->nanoseconds);
        run->lap = mlc_clock_now();
    }
    int status = run->n_workers > 1 ? mlc_pool_run(&context->pool, walk, run)
                                    : mlc_pool_run_alone(&context->pool, walk, run);
    if (run->world_status)
        return run->world_status; /* with the world's text */
    if (!status || run->told)
        return status;
    if (status == -EAGAIN)
        return mlc_fail(&context->error, status, "%s: cannot start %d threads", plan->name, run->n_workers - 1);
    if (status == -EINTR)
        return mlc_fail(&context->error, status, "%s: stopped in a loop", plan->name);
    return mlc_fail(&context->error, status, "%s: a step lies outside its buffer", plan->name);
}

int mlc_program_profile(const struct mlc_program *program, struct mlc_context *context, void *const *inputs,
                        const int64_t *symbols, void *const *outputs, int64_t *nanoseconds)
{
    struct run run = {.program = program, .context = context, .nanoseconds = nanoseconds};

    context->began = false;
    int status = prepare(&run, symbols);
    if (status)
        return status;
    bind_constants(&run);
    status = check_device_copies(&run);
    if (!status)
        status = mlc_device_walk_begin(&run.devices);
    if (status)
        return status;
    status = bind_pointers(&run, inputs, outputs);
    if (!status)
        status = mlc_collectives_agree(program, &run.values, context->world, &context->error);
    if (!status)
        status = run_steps(&run);
    mlc_device_walk_end(&run.devices);
    return status;
}

int mlc_program_run(const struct mlc_program *program, struct mlc_context *context, void *const *inputs,
                    const int64_t *symbols, void *const *outputs)
{
    return mlc_program_profile(program, context, inputs, symbols, outputs, NULL);
}
