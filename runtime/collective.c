/* Hands the collective steps of a Plan to a world, and makes sure first that all ranks have the same ones. */
#include "collective.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "collective_steps.h"

/* FNV-1a of 64 bits over the eight bytes of `value`. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        hash ^= value >> 8 * i & 0xff;
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

/* What all ranks must have alike: every collective in order, with its type, groups and this run's count. */
static uint64_t schedule_of(const struct mlc_plan *plan, const int64_t *sizes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct mlc_step *step = &plan->steps[i];
        if (step->kind != MLC_COLLECTIVE_START)
            continue;
        const bool on_device = mlc_slot_device(plan, step->operands[0].slot);
        const uint32_t parts[] = {step->collective, step->dtype, step->reduction, step->root, step->group_size, on_device};
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            hash = mix(hash, parts[p]);
        hash = mix(hash, (uint64_t)sizes[step->sizes[0]]);
        for (uint32_t k = 0; k < step->n_ranks; k++)
            hash = mix(hash, step->ranks[k]);
    }
    return hash;
}

/* The input by which a step of data_parallel is known: mlc.distributed.parallel.RANK. */
static bool is_data_parallel(const struct mlc_plan *plan)
{
    bool found = false;

    for (uint32_t i = 0; i < plan->n_inputs; i++)
        found |= strcmp(plan->inputs[i].name, "_rank") == 0;
    return found;
}

/* `schedule` and the types of the inputs of a run. */
static uint64_t hash_inputs(uint64_t schedule, const struct mlc_plan *plan, const int64_t *sizes)
{
    for (uint32_t i = 0; i < plan->n_inputs; i++) {
        const struct mlc_type *type = &plan->inputs[i].type;
        schedule = mix(mix(schedule, type->dtype), type->rank);
        for (uint32_t d = 0; d < type->rank; d++)
            schedule = mix(schedule, (uint64_t)sizes[type->shape[d]]);
    }
    return schedule;
}

/* Note the types of a step's inputs, which are alike on all ranks that share a batch: as many rows on each. */
static void note_inputs(struct mlc_agreement *agreement, const struct mlc_plan *plan, const int64_t *sizes)
{
    size_t used = 0, room = sizeof agreement->inputs;
    uint64_t called = is_data_parallel(plan) ? hash_inputs(agreement->schedule, plan, sizes) : agreement->schedule;

    if (called == agreement->called)
        return;
    agreement->called = called;
    agreement->inputs[0] = 0;
    for (uint32_t i = called == agreement->schedule ? 0 : plan->n_inputs; i--;) {
        const struct mlc_value *input = &plan->inputs[i];
        char shape[96] = "";
        for (uint32_t d = 0; d < input->type.rank; d++) {
            int64_t size = sizes[input->type.shape[d]];
            size_t length = strlen(shape);
            snprintf(shape + length, sizeof shape - length, "%s%lld", d ? ", " : "", (long long)size);
        }
        if (input->type.rank && used < room)
            used += (size_t)snprintf(agreement->inputs + used, room - used, "%s%s %s[%s]", used ? ", " : "", input->name,
                                     mlc_dtype_name(input->type.dtype), shape);
    }
}

int mlc_collectives_agree(const struct mlc_program *program, const struct mlc_values *values, struct mlc_world *world,
                          const struct mlc_error *error)
{
    const struct mlc_plan *plan = &program->plan;
    struct mlc_agreement *agreement = program->agreement;

    if (!plan->n_ranks)
        return 0;
    if (!world)
        return mlc_fail(error, -ENOTCONN,
                        "%s: it has collectives among %u ranks, and this process has joined no world; start it with "
                        "`mlc launch -n %u` and call mlc.distributed.init() first",
                        plan->name, (unsigned)plan->n_ranks, (unsigned)plan->n_ranks);
    if ((int64_t)plan->n_ranks != world->size)
        return mlc_fail(error, -ENOTCONN, "%s: it was compiled for %u ranks, and this world has %d", plan->name,
                        (unsigned)plan->n_ranks, world->size);
    if (agreement->world == world && !plan->n_symbols)
        return 0; /* all runs have the same counts */
    uint64_t schedule = schedule_of(plan, values->sizes);
    if (agreement->world != world || agreement->schedule != schedule) {
        int status = world->agree(world, plan->name, schedule, error);
        if (status)
            return status;
        *agreement = (struct mlc_agreement){.world = world, .schedule = schedule};
    }
    note_inputs(agreement, plan, values->sizes);
    return 0;
}

/* The device whose memory a collective is about, NULL for the host. */
static struct mlc_device *device_of(const struct mlc_program *program, const struct mlc_step *step)
{
    uint32_t number = mlc_slot_device(&program->plan, step->operands[0].slot);
    return number ? program->attached[number - 1]->device : NULL;
}

int mlc_collective_start(const struct mlc_program *program, const struct mlc_step *step, void *source, void *destination,
                         int64_t count, struct mlc_world *world, const struct mlc_error *error)
{
    struct mlc_collective what = {
        .kind = step->collective,
        .dtype = step->dtype,
        .reduction = step->reduction,
        .root = step->root,
        .device = device_of(program, step),
        .source = source,
        .destination = destination,
        .count = count,
        .ranks = step->ranks,
        .n_ranks = step->n_ranks,
        .group_size = step->group_size,
        .label = step->label,
        .schedule = program->agreement->called,
        .inputs = program->agreement->inputs,
    };
    return world->start(world, step->slot, &what, error);
}

bool mlc_collective_bytes(const struct mlc_step *step, int64_t count, int64_t *source, int64_t *destination)
{
    int64_t block, whole;

    if (count < 0 || __builtin_mul_overflow(count, (int64_t)mlc_dtype_bytes(step->dtype), &block) ||
        __builtin_mul_overflow(block, (int64_t)step->group_size, &whole))
        return false;
    *source = step->collective == MLC_REDUCE_SCATTER ? whole : block;
    *destination = step->collective == MLC_ALL_GATHER ? whole : block;
    return true;
}
