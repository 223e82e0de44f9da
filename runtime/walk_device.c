/* Puts the device steps of a run on their streams, one by one or as graphs of what ran before. */
#include "walk_device.h"

#include <errno.h>

#include "device_graph.h"
#include "memory.h"

/* What the program has on device `number`, whose context is current from now on: all are held, the last one on top. */
static struct mlc_attached *attached(const struct mlc_device_walk *walk, uint32_t number)
{
    struct mlc_attached *found = walk->program->attached[number - 1];

    if (found && walk->program->plan.n_devices > 1)
        found->device->cuda.CtxSetCurrent(found->device->context); /* what fails there fails in the call that follows */
    return found;
}

static void *address(const struct mlc_device_walk *walk, const struct mlc_operand *operand)
{
    return (char *)walk->slots[operand->slot] + operand->offset;
}

/* ---- begin and end ---- */

static uint32_t arena_slot(const struct mlc_device_walk *walk, uint32_t number)
{
    return walk->program->n_slots - 1 - walk->program->plan.n_devices + number;
}

/* Give back what devices [1, end) have. */
static void end_before(const struct mlc_device_walk *walk, uint32_t end)
{
    for (uint32_t d = end; d-- > 1;) {
        struct mlc_device *device = walk->program->attached[d - 1]->device;
        int64_t bytes = walk->program->plan.devices[d - 1].arena_bytes;
        if (bytes)
            mlc_device_give(device, walk->slots[arena_slot(walk, d)], (size_t)bytes);
        mlc_device_release(device);
    }
}

static int begin_on(const struct mlc_device_walk *walk, uint32_t number)
{
    const struct mlc_plan *plan = &walk->program->plan;
    const struct mlc_attached *there = walk->program->attached[number - 1];
    void **arena = &walk->slots[arena_slot(walk, number)];
    int64_t bytes = plan->devices[number - 1].arena_bytes;

    if (!there)
        return mlc_fail(walk->error, -ENODEV, "%s: device %s is not attached", plan->name, plan->devices[number - 1].name);
    int status = mlc_device_hold(there->device, walk->error);
    if (status)
        return status;
    *arena = bytes ? mlc_device_take(there->device, (size_t)bytes, walk->error) : NULL;
    if (bytes && !*arena) {
        mlc_device_release(there->device);
        return -ENOMEM;
    }
    for (uint32_t c = 0; c < plan->n_constants; c++)
        if (plan->constants[c].device == number)
            walk->slots[plan->n_inputs + plan->n_outputs + c] = there->constants[c];
    return 0;
}

int mlc_device_walk_begin(const struct mlc_device_walk *walk)
{
    for (uint32_t d = 1; d <= walk->program->plan.n_devices; d++) {
        int status = begin_on(walk, d);
        if (status) {
            end_before(walk, d);
            return status;
        }
    }
    return 0;
}

void mlc_device_walk_end(const struct mlc_device_walk *walk)
{
    end_before(walk, walk->program->plan.n_devices + 1);
}

/* ---- steps ---- */

bool mlc_is_device_step(const struct mlc_plan *plan, const struct mlc_step *step)
{
    if (step->kind == MLC_LAUNCH)
        return step->device;
    return step->kind == MLC_COPY && (mlc_slot_device(plan, step->operands[0].slot) ||
                                      mlc_slot_device(plan, step->operands[1].slot));
}

static int launch(const struct mlc_device_walk *walk, uint32_t i)
{
    const struct mlc_plan *plan = &walk->program->plan;
    const struct mlc_step *step = &plan->steps[i];
    uint32_t n = 0;

    for (uint32_t k = 0; k < step->n_operands; k++) {
        walk->pointers[k] = address(walk, &step->operands[k]);
        walk->arguments[n++] = &walk->pointers[k];
    }
    for (uint32_t k = 0; k < step->n_sizes; k++) {
        walk->sizes[k] = walk->values->sizes[step->sizes[k]];
        walk->arguments[n++] = &walk->sizes[k];
    }
    return mlc_attached_launch(attached(walk, step->device), plan, i, walk->values->tasks[i], walk->arguments, walk->error);
}

/* From one device to another: by way of the host. */
static int carry(const struct mlc_device_walk *walk, uint32_t to, void *destination, uint32_t from, const void *source,
                 size_t bytes)
{
    void *between = mlc_memory_allocate(bytes);

    if (!between)
        return mlc_fail(walk->error, -ENOMEM, "%s: out of memory", walk->program->plan.name);
    int status = mlc_device_download(attached(walk, from)->device, between, source, bytes, walk->error);
    if (!status)
        status = mlc_device_upload(attached(walk, to)->device, destination, between, bytes, walk->error);
    mlc_memory_free(between);
    return status;
}

static int copy(const struct mlc_device_walk *walk, const struct mlc_step *step)
{
    const struct mlc_plan *plan = &walk->program->plan;
    uint32_t to = mlc_slot_device(plan, step->operands[0].slot), from = mlc_slot_device(plan, step->operands[1].slot);
    void *destination = address(walk, &step->operands[0]), *source = address(walk, &step->operands[1]);
    size_t bytes = (size_t)walk->values->sizes[step->sizes[0]];

    if (!bytes)
        return 0;
    if (!from)
        return mlc_device_upload(attached(walk, to)->device, destination, source, bytes, walk->error);
    if (!to)
        return mlc_device_download(attached(walk, from)->device, destination, source, bytes, walk->error);
    if (to == from)
        return mlc_device_move(attached(walk, to)->device, destination, source, bytes, walk->error);
    return carry(walk, to, destination, from, source, bytes);
}

int mlc_device_walk_step(const struct mlc_device_walk *walk, uint32_t i)
{
    const struct mlc_step *step = &walk->program->plan.steps[i];
    return step->kind == MLC_LAUNCH ? launch(walk, i) : copy(walk, step);
}

/* The device whose stream a step is put on. */
static struct mlc_device *device_of(const struct mlc_device_walk *walk, const struct mlc_step *step)
{
    const struct mlc_plan *plan = &walk->program->plan;
    uint32_t number = step->device;

    if (step->kind == MLC_COPY) {
        number = mlc_slot_device(plan, step->operands[0].slot);
        number = number ? number : mlc_slot_device(plan, step->operands[1].slot);
    }
    return attached(walk, number)->device;
}

int mlc_device_walk_timed(const struct mlc_device_walk *walk, uint32_t i, int64_t *nanoseconds)
{
    struct mlc_device *device = device_of(walk, &walk->program->plan.steps[i]);
    const struct mlc_cuda *cuda = &device->cuda;
    float milliseconds = 0;
    CUresult result = cuda->EventRecord(device->begin, device->stream);
    int status = mlc_device_check_late(device, result, walk->error, "its stream failed");

    if (!status)
        status = mlc_device_walk_step(walk, i);
    if (status)
        return status;
    result = cuda->EventRecord(device->end, device->stream);
    if (!result)
        result = cuda->EventSynchronize(device->end);
    if (!result)
        result = cuda->EventElapsedTime(&milliseconds, device->begin, device->end);
    *nanoseconds = (int64_t)((double)milliseconds * 1e6);
    return mlc_device_check_late(device, result, walk->error, "its stream failed");
}

/* ---- segments ---- */

/* The number of the device that has a segment at step `i`, 0 for none. */
static uint32_t owner(const struct mlc_program *program, uint32_t i)
{
    for (uint32_t d = 1; d <= program->plan.n_devices; d++) {
        const struct mlc_attached *there = program->attached[d - 1];
        if (there->graphs && there->segments[i].end > i)
            return d;
    }
    return 0;
}

uint32_t mlc_device_walk_segment(const struct mlc_program *program, uint32_t i)
{
    uint32_t number = owner(program, i);
    return number ? program->attached[number - 1]->segments[i].end : i;
}

struct part {
    const struct mlc_device_walk *walk;
    uint32_t begin, end;
};

static int put(void *data)
{
    const struct part *part = data;
    int status = 0;

    for (uint32_t i = part->begin; i < part->end && !status; i++)
        status = mlc_device_walk_step(part->walk, i);
    return status;
}

int mlc_device_walk_run_segment(const struct mlc_device_walk *walk, uint32_t i)
{
    const struct mlc_program *program = walk->program;
    uint32_t number = owner(program, i);
    struct mlc_attached *there = attached(walk, number);
    struct part part = {walk, i, there->segments[i].end};
    size_t n = 0;

    for (uint32_t slot = 0; slot < program->n_slots; slot++)
        if (mlc_slot_device(&program->plan, slot) == number)
            walk->words[n++] = (int64_t)(intptr_t)walk->slots[slot];
    for (uint32_t k = 0; k < program->plan.n_sizes; k++)
        walk->words[n++] = walk->values->sizes[k];
    return mlc_segment_run(&there->segments[i], there->device, walk->words, n, put, &part, walk->error);
}

/* ---- the rest ---- */

int mlc_device_walk_read(const struct mlc_device_walk *walk, const struct mlc_operand *operand, void *to, size_t bytes)
{
    uint32_t number = mlc_slot_device(&walk->program->plan, operand->slot);
    return mlc_device_download(attached(walk, number)->device, to, address(walk, operand), bytes, walk->error);
}

int mlc_device_walk_take_over(const struct mlc_device_walk *walk, uint32_t device, void *to, const void *from, size_t bytes)
{
    return mlc_device_move(attached(walk, device)->device, to, from, bytes, walk->error);
}
