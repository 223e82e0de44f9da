/* Emitted libraries: picks a function's best variant for this CPU and makes its program once. */
#include <errno.h>
#include <stdlib.h>

#include "context.h"
#include "program.h"

static const struct mlc_variant *best_variant(const struct mlc_function *function)
{
    const struct mlc_variant *best = NULL;
    uint32_t level = mlc_cpu_level();

    for (size_t i = 0; i < function->n_variants; i++) {
        const struct mlc_variant *variant = &function->variants[i];
        if (variant->level <= level && (!best || variant->level > best->level))
            best = variant;
    }
    return best;
}

/* The Plan's constants in its order, from the library's table. The caller frees *out. */
static int gather_constants(const struct mlc_library *library, const struct mlc_function *function,
                            const void ***out, const struct mlc_error *error)
{
    const void **constants = calloc(function->n_constants + 1, sizeof *constants);

    *out = constants;
    if (!constants)
        return mlc_fail(error, -ENOMEM, "%s: out of memory", function->name);
    for (size_t i = 0; i < function->n_constants; i++) {
        size_t index = function->constants ? function->constants[i] : i;
        if (index >= library->n_constants)
            return mlc_fail(error, -EINVAL, "%s: the library has no constant %zu", function->name, index);
        constants[i] = library->constants[index].data;
        if (!constants[i])
            return mlc_fail(error, -ENODATA, "%s: constant %s has not been set", function->name,
                            library->constants[index].name);
    }
    return 0;
}

/* A constant's memory must hold what the Plan's type says. */
static int check_constants(const struct mlc_library *library, const struct mlc_function *function,
                           const struct mlc_program *program, const struct mlc_error *error)
{
    const struct mlc_plan *plan = &program->plan;

    for (size_t i = 0; i < function->n_constants; i++) {
        const struct mlc_constant *constant = &library->constants[function->constants ? function->constants[i] : i];
        int64_t bytes;
        if (!mlc_static_bytes(plan, &plan->constants[i].type, &bytes) || (size_t)bytes > constant->bytes)
            return mlc_fail(error, -EINVAL, "%s: constant %s is too short", function->name, constant->name);
    }
    return 0;
}

static int make_program(const struct mlc_library *library, const struct mlc_function *function,
                        struct mlc_program **out, const struct mlc_error *error)
{
    const struct mlc_variant *variant = best_variant(function);
    const void **constants = NULL;

    if (!variant)
        return mlc_fail(error, -ENOTSUP, "%s: the library has no code for this CPU (its level is x86-64-v%u)",
                        function->name, (unsigned)mlc_cpu_level());
    int status = gather_constants(library, function, &constants, error);
    if (!status)
        status = mlc_program_create(variant->plan, variant->plan_bytes, variant->kernels, variant->n_kernels, constants,
                                    function->n_constants, out, error->text, error->size);
    if (!status)
        status = check_constants(library, function, *out, error);
    if (status) {
        mlc_program_destroy(*out);
        *out = NULL;
    }
    free(constants);
    return status;
}

/* The published program, or a new one; where two threads make one, the first published stays. */
static int program_of(struct mlc_function *function, const struct mlc_library *library, struct mlc_program **out,
                      const struct mlc_error *error)
{
    void *published = __atomic_load_n(&function->program, __ATOMIC_ACQUIRE);

    *out = published;
    if (published)
        return 0;
    int status = make_program(library, function, out, error);
    if (status)
        return status;
    if (!__atomic_compare_exchange_n(&function->program, &published, *out, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        mlc_program_destroy(*out);
        *out = published;
    }
    return 0;
}

int mlc_function_run(struct mlc_library *library, size_t index, struct mlc_context *context, void *const *inputs,
                     const int64_t *symbols, void *const *outputs)
{
    struct mlc_program *program = NULL;

    if (library->abi != MLC_ABI)
        return mlc_fail(&context->error, -ENOTSUP, "the library has ABI %u, this runtime %u", (unsigned)library->abi,
                        MLC_ABI);
    if (index >= library->n_functions)
        return mlc_fail(&context->error, -EINVAL, "the library has no function %zu", index);
    int status = program_of(&library->functions[index], library, &program, &context->error);
    return status ? status : mlc_program_run(program, context, inputs, symbols, outputs);
}

int mlc_library_set_constant(struct mlc_library *library, size_t index, const void *data, size_t bytes)
{
    if (index >= library->n_constants || bytes != library->constants[index].bytes)
        return -EINVAL;
    if (!data || (uintptr_t)data % MLC_ALIGNMENT)
        return -EINVAL;
    for (size_t i = 0; i < library->n_functions; i++)
        if (__atomic_load_n(&library->functions[i].program, __ATOMIC_ACQUIRE))
            return -EBUSY;
    library->constants[index].data = data;
    return 0;
}

void mlc_library_release(struct mlc_library *library)
{
    for (size_t i = 0; i < library->n_functions; i++)
        mlc_program_destroy(__atomic_exchange_n(&library->functions[i].program, NULL, __ATOMIC_ACQ_REL));
}
