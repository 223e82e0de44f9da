/* Loads a program's kernels on a device, with the words of the driver's assembler where it refuses them. */
#include "device_program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_graph.h"

enum { LOG_BYTES = 4096 }; /* of which an error takes 300 */

/* ---- code ---- */

/* Cut a log of the assembler to what one line of an error takes. */
static void flatten(char *log)
{
    log[300] = 0;
    for (char *c = log; *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t')
            *c = ' ';
    for (size_t n = strlen(log); n && log[n - 1] == ' '; n--)
        log[n - 1] = 0;
}

static int load(struct mlc_device *device, const struct mlc_image *image, CUmodule *out, const struct mlc_error *error)
{
    char log[LOG_BYTES] = "", doing[400];
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(LOG_BYTES - 1)};
    CUresult result = device->cuda.ModuleLoadDataEx(out, image->data, 2, options, values);

    flatten(log);
    snprintf(doing, sizeof doing, "it does not take the code%s%.300s", *log ? ": " : "", log);
    return mlc_device_check(device, result, error, doing);
}

/* The first image that the device takes; the error is that of the last. */
static int load_any(struct mlc_attached *attached, const struct mlc_image *images, size_t n_images,
                    const struct mlc_error *error)
{
    int status = mlc_fail(error, -ENOEXEC, "%s: there is no code for it", attached->device->name);

    for (size_t i = 0; i < n_images; i++) {
        status = load(attached->device, &images[i], &attached->module, error);
        if (status != -ENOEXEC)
            break;
    }
    return status;
}

/* Look kernel `k` up, and let it have the dynamic shared memory that its launches ask for. */
static int find_kernel(struct mlc_attached *attached, const struct mlc_plan *plan, uint32_t k, uint32_t shared_bytes,
                       const struct mlc_error *error)
{
    struct mlc_device *device = attached->device;
    CUfunction *function = &attached->functions[k];
    char doing[256];

    snprintf(doing, sizeof doing, "its code has no kernel %s", plan->kernels[k]);
    int status = mlc_device_check(device, device->cuda.ModuleGetFunction(function, attached->module, plan->kernels[k]),
                                  error, doing);
    if (status || !shared_bytes)
        return status;
    snprintf(doing, sizeof doing, "kernel %s cannot have %u bytes of shared memory", plan->kernels[k], shared_bytes);
    return mlc_device_check(device,
                            device->cuda.FuncSetAttribute(*function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                          (int)shared_bytes),
                            error, doing);
}

static int load_kernels(struct mlc_attached *attached, const struct mlc_plan *plan, const struct mlc_image *images,
                        size_t n_images, const struct mlc_error *error)
{
    int status = 0;

    for (uint32_t i = 0; i < plan->n_steps && !status; i++) {
        const struct mlc_step *step = &plan->steps[i];
        if (step->kind != MLC_LAUNCH || step->device != attached->number)
            continue;
        if (!attached->module)
            status = load_any(attached, images, n_images, error);
        if (!status && (!attached->functions[step->kernel] || step->shared_bytes))
            status = find_kernel(attached, plan, step->kernel, step->shared_bytes, error);
    }
    return status;
}

/* ---- constants ---- */

static int upload_constants(struct mlc_attached *attached, const struct mlc_plan *plan, const void *const *constants,
                            const struct mlc_error *error)
{
    int status = 0;
    int64_t bytes;

    for (uint32_t i = 0; i < plan->n_constants && !status; i++) {
        if (plan->constants[i].device != attached->number || !mlc_static_bytes(plan, &plan->constants[i].type, &bytes))
            continue;
        attached->constants[i] = mlc_device_take(attached->device, (size_t)bytes, error);
        if (!attached->constants[i])
            return -ENOMEM;
        status = mlc_device_upload(attached->device, attached->constants[i], constants[i], (size_t)bytes, error);
    }
    return status;
}

static void give_constants(const struct mlc_plan *plan, struct mlc_attached *attached)
{
    int64_t bytes;

    for (uint32_t i = 0; i < plan->n_constants; i++)
        if (attached->constants[i] && mlc_static_bytes(plan, &plan->constants[i].type, &bytes))
            mlc_device_give(attached->device, attached->constants[i], (size_t)bytes);
}

/* ---- attaching ---- */

static struct mlc_attached *make(const struct mlc_plan *plan, uint32_t number, struct mlc_device *device)
{
    struct mlc_attached *attached = calloc(1, sizeof *attached);

    if (!attached)
        return NULL;
    attached->device = device;
    attached->number = number;
    attached->functions = calloc(plan->n_kernels + 1, sizeof *attached->functions);
    attached->constants = calloc(plan->n_constants + 1, sizeof *attached->constants);
    attached->segments = mlc_segments_find(plan, number);
    if (attached->functions && attached->constants && attached->segments)
        return attached;
    free(attached->functions);
    free(attached->constants);
    mlc_segments_free(plan, NULL, attached->segments);
    free(attached);
    return NULL;
}

int mlc_attach(const struct mlc_plan *plan, uint32_t number, struct mlc_device *device, const struct mlc_image *images,
               size_t n_images, const void *const *constants, struct mlc_attached **out, const struct mlc_error *error)
{
    struct mlc_attached *attached = make(plan, number, device);
    const char *off = getenv("MLC_CUDA_GRAPHS");

    *out = attached;
    if (!attached)
        return mlc_fail(error, -ENOMEM, "%s: out of memory", plan->name);
    attached->graphs = !device->step_by_step && !(off && strcmp(off, "0") == 0);
    int status = load_kernels(attached, plan, images, n_images, error);
    return status ? status : upload_constants(attached, plan, constants, error);
}

void mlc_detach(const struct mlc_plan *plan, struct mlc_attached *attached)
{
    if (!attached)
        return;
    struct mlc_device *device = attached->device;
    bool usable = !mlc_device_hold(device, NULL);
    if (usable)
        mlc_device_synchronize(device, NULL); /* nothing on the stream names our kernels any more */
    mlc_segments_free(plan, usable ? device : NULL, attached->segments);
    give_constants(plan, attached);
    if (usable) {
        if (attached->module)
            device->cuda.ModuleUnload(attached->module);
        mlc_device_release(device);
    }
    free(attached->functions);
    free(attached->constants);
    free(attached);
}

/* ---- launches ---- */

int mlc_attached_launch(struct mlc_attached *attached, const struct mlc_plan *plan, uint32_t i, int64_t blocks,
                        void **arguments, const struct mlc_error *error)
{
    const struct mlc_step *step = &plan->steps[i];
    struct mlc_device *device = attached->device;
    const char *kernel = plan->kernels[step->kernel];
    char doing[256];

    if (blocks <= 0)
        return 0;
    if (blocks > INT_MAX)
        return mlc_fail(error, -EOVERFLOW, "%s: kernel %s (%s) would run in %lld blocks", device->name, kernel,
                        step->label, (long long)blocks);
    CUresult result = device->cuda.LaunchKernel(attached->functions[step->kernel], (unsigned)blocks, 1, 1, step->threads,
                                                1, 1, step->shared_bytes, device->stream, arguments, NULL);
    if (result) {
        snprintf(doing, sizeof doing, "kernel %s (%s) cannot be launched", kernel, step->label);
        return mlc_device_check_late(device, result, error, doing);
    }
    mlc_launches_add(&device->pending, &(struct mlc_launches){1, kernel, step->label, kernel, step->label});
    return device->step_by_step ? mlc_device_synchronize(device, error) : 0;
}
