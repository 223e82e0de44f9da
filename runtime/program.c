/* Makes a program of a Plan, kernel addresses and constants, and evaluates its sizes for a call. */
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tasks of one launch: the product over (extent, grain) of ceil(extent / grain); none for a negative extent. */
static bool count_tasks(const struct mlc_step *step, const int64_t *sizes, int64_t *out)
{
    int64_t total = 1;

    for (uint32_t t = 0; t < step->n_tasks; t++) {
        int64_t extent = sizes[step->tasks[t].extent], grain = step->tasks[t].grain;
        int64_t n = extent > 0 ? (extent - 1) / grain + 1 : 0;
        if (__builtin_mul_overflow(total, n, &total))
            return false;
    }
    *out = total;
    return true;
}

static int check_symbols(const struct mlc_plan *plan, const int64_t *symbols, const struct mlc_error *error)
{
    for (uint32_t s = 0; s < plan->n_symbols; s++) {
        const struct mlc_symbol *symbol = &plan->symbols[s];
        if (symbols[s] < symbol->lower || symbols[s] > symbol->upper)
            return mlc_fail(error, -EINVAL, "%s: size %s is %lld, outside its bounds %lld..%lld", plan->name,
                            symbol->name, (long long)symbols[s], (long long)symbol->lower, (long long)symbol->upper);
    }
    return 0;
}

int mlc_program_evaluate(const struct mlc_program *program, const int64_t *symbols, struct mlc_values *values,
                         const struct mlc_error *error)
{
    const struct mlc_plan *plan = &program->plan;
    int status = check_symbols(plan, symbols, error);

    values->parallel = false;
    for (uint32_t i = 0; !status && i < plan->n_sizes; i++)
        if (!mlc_size_evaluate(&plan->sizes[i], symbols, &values->sizes[i]))
            status = mlc_fail(error, -EOVERFLOW, "%s: a size overflows", plan->name);
    for (uint32_t i = 0; !status && i < plan->n_steps; i++) {
        const struct mlc_step *step = &plan->steps[i];
        if (!count_tasks(step, values->sizes, &values->tasks[i]))
            status = mlc_fail(error, -EOVERFLOW, "%s: %s: the number of tasks overflows", plan->name, step->label);
        else
            values->parallel |= values->tasks[i] > 1 && !(step->flags & MLC_SERIAL);
    }
    return status;
}

static void lay_out(struct mlc_program *program)
{
    const struct mlc_plan *plan = &program->plan;
    struct mlc_layout *layout = &program->layout;
    size_t entries = (size_t)program->n_slots + plan->n_sizes + plan->n_steps;

    if (plan->n_devices) /* as walk.c's lend_to_devices has it */
        entries += 2 * ((size_t)plan->max_operands + plan->max_sizes) + program->n_slots + plan->n_sizes;
    layout->tables = mlc_memory_round(entries * sizeof(int64_t));
    layout->arena = mlc_memory_round((size_t)plan->arena_bytes);
    layout->pointers = mlc_memory_round(plan->max_operands * sizeof(void *));
    layout->sizes = mlc_memory_round(plan->max_sizes * sizeof(int64_t));
    layout->scratch = mlc_memory_round((size_t)plan->scratch_bytes);
    layout->worker = layout->pointers + layout->sizes + layout->scratch; /* the Plan's limits of 2^56 keep it in range */
}

/* Copy the two arrays into the Plan's region and fill in what needs to be computed once. */
static int bind(struct mlc_program *program, const mlc_kernel *kernels, const void *const *constants,
                const struct mlc_error *error)
{
    struct mlc_plan *plan = &program->plan;
    mlc_kernel *own_kernels = mlc_region_allocate(&plan->region, plan->n_kernels, sizeof *own_kernels);
    const void **own_constants = mlc_region_allocate(&plan->region, plan->n_constants, sizeof *own_constants);
    struct mlc_values *fixed = &program->fixed;

    fixed->sizes = mlc_region_allocate(&plan->region, plan->n_sizes, sizeof *fixed->sizes);
    fixed->tasks = mlc_region_allocate(&plan->region, plan->n_steps, sizeof *fixed->tasks);
    program->agreement = mlc_region_allocate(&plan->region, 1, sizeof *program->agreement);
    program->attached = mlc_region_allocate(&plan->region, plan->n_devices, sizeof *program->attached);
    if (!own_kernels || !own_constants || !fixed->sizes || !fixed->tasks || !program->agreement || !program->attached)
        return mlc_fail(error, -ENOMEM, "%s: out of memory", plan->name);
    if (plan->n_kernels)
        memcpy(own_kernels, kernels, plan->n_kernels * sizeof *own_kernels);
    if (plan->n_constants)
        memcpy(own_constants, constants, plan->n_constants * sizeof *own_constants);
    program->kernels = own_kernels;
    program->constants = own_constants;
    program->n_slots = plan->n_inputs + plan->n_outputs + plan->n_constants + 1 + plan->n_devices;
    lay_out(program);
    return plan->n_symbols ? 0 : mlc_program_evaluate(program, NULL, fixed, error);
}

/* Whether a kernel runs on devices alone. */
static bool is_elsewhere(const struct mlc_plan *plan, uint32_t kernel)
{
    bool there = false, here = false;

    for (uint32_t i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].kind == MLC_LAUNCH && plan->steps[i].kernel == kernel)
            *(plan->steps[i].device ? &there : &here) = true;
    return there && !here;
}

static int check_bindings(const struct mlc_plan *plan, const mlc_kernel *kernels, size_t n_kernels,
                          const void *const *constants, size_t n_constants, const struct mlc_error *error)
{
    if (n_kernels != plan->n_kernels || n_constants != plan->n_constants)
        return mlc_fail(error, -EINVAL, "%s: the plan has %u kernels and %u constants, %zu and %zu were given",
                        plan->name, (unsigned)plan->n_kernels, (unsigned)plan->n_constants, n_kernels, n_constants);
    for (uint32_t k = 0; k < plan->n_kernels; k++)
        if (!kernels[k] && !is_elsewhere(plan, k))
            return mlc_fail(error, -EINVAL, "%s: kernel %s has no address", plan->name, plan->kernels[k]);
    for (size_t i = 0; i < n_constants; i++)
        if (!constants[i])
            return mlc_fail(error, -EINVAL, "%s: constant %s has no data", plan->name, plan->constants[i].name);
    return 0;
}

int mlc_program_create(const void *plan, size_t plan_bytes, const mlc_kernel *kernels, size_t n_kernels,
                       const void *const *constants, size_t n_constants, struct mlc_program **out, char *text,
                       size_t text_size)
{
    struct mlc_error error = {text, text_size};
    struct mlc_program *program = calloc(1, sizeof *program);

    *out = NULL;
    if (!program)
        return mlc_fail(&error, -ENOMEM, "out of memory");
    int status = mlc_plan_decode(plan, plan_bytes, &program->plan, &error);
    if (!status)
        status = check_bindings(&program->plan, kernels, n_kernels, constants, n_constants, &error);
    if (!status)
        status = bind(program, kernels, constants, &error);
    if (status)
        mlc_program_destroy(program);
    else
        *out = program;
    return status;
}

void mlc_program_destroy(struct mlc_program *program)
{
    if (program) {
        for (uint32_t d = 0; program->attached && d < program->plan.n_devices; d++)
            mlc_detach(&program->plan, program->attached[d]);
        mlc_plan_free(&program->plan);
    }
    free(program);
}

int mlc_program_attach(struct mlc_program *program, uint32_t number, struct mlc_device *device,
                       const struct mlc_image *images, size_t n_images, const struct mlc_error *error)
{
    const struct mlc_plan *plan = &program->plan;

    if (number < 1 || number > plan->n_devices || program->attached[number - 1])
        return mlc_fail(error, -EINVAL, "%s: the plan has no device %u to attach", plan->name, (unsigned)number);
    return mlc_attach(plan, number, device, images, n_images, program->constants, &program->attached[number - 1], error);
}

size_t mlc_program_steps(const struct mlc_program *program)
{
    return program->plan.n_steps;
}
