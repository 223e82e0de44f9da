/* Opens a device of the CUDA driver, hands out its memory and says what went wrong on its stream. */
#define _GNU_SOURCE /* recursive mutexes */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mlc_device_check(struct mlc_device *device, CUresult result, const struct mlc_error *error, const char *doing)
{
    int status = mlc_cuda_check(&device->cuda, result, error, "%s: %s", device->name, doing);

    if (status == -ENOTRECOVERABLE && !*device->lost) {
        struct mlc_error lost = {device->lost, sizeof device->lost};
        mlc_cuda_check(&device->cuda, result, &lost, "%s", doing);
    }
    return status;
}

/* Whether this is a child of the process that opened the device. Its locks may be held by threads that are not here. */
static bool is_of_parent(const struct mlc_device *device)
{
    return device->process != getpid();
}

int mlc_device_hold(struct mlc_device *device, const struct mlc_error *error)
{
    if (is_of_parent(device))
        return mlc_fail(error, -EIO, "%s was opened before this process was forked from process %ld, and the CUDA driver "
                        "does not go over a fork: start processes that use it by multiprocessing's \"spawn\"",
                        device->name, (long)device->process);
    pthread_mutex_lock(&device->lock);
    int status = 0;
    if (*device->lost)
        status = mlc_fail(error, -ENOTRECOVERABLE, "%s is lost to this process, after %s", device->name, device->lost);
    else
        status = mlc_device_check(device, device->cuda.CtxPushCurrent(device->context), error, "it cannot be used");
    if (status)
        pthread_mutex_unlock(&device->lock);
    return status;
}

void mlc_device_release(struct mlc_device *device)
{
    CUcontext popped;

    device->cuda.CtxPopCurrent(&popped);
    pthread_mutex_unlock(&device->lock);
}

void mlc_launches_add(struct mlc_launches *launches, const struct mlc_launches *more)
{
    if (!launches->count) {
        launches->first_kernel = more->first_kernel;
        launches->first_label = more->first_label;
    }
    launches->count += more->count;
    launches->last_kernel = more->last_kernel;
    launches->last_label = more->last_label;
}

/* What was on the stream, for an error that comes late. */
static void name_pending(const struct mlc_device *device, char *text, size_t bytes)
{
    const struct mlc_launches *all = &device->pending;

    if (all->count == 1)
        snprintf(text, bytes, "kernel %s (%s) failed", all->last_kernel, all->last_label);
    else
        snprintf(text, bytes,
                 "one of %ld launches failed, from kernel %s (%s) to kernel %s (%s); MLC_CUDA_SYNC=1 tells which",
                 all->count, all->first_kernel, all->first_label, all->last_kernel, all->last_label);
}

int mlc_device_check_late(struct mlc_device *device, CUresult result, const struct mlc_error *error, const char *doing)
{
    char pending[320];

    if (result == CUDA_SUCCESS)
        return 0;
    bool late = device->pending.count && mlc_cuda_check(&device->cuda, result, NULL, "%s", "") == -ENOTRECOVERABLE;
    if (late)
        name_pending(device, pending, sizeof pending);
    device->pending.count = 0;
    return mlc_device_check(device, result, error, late ? pending : doing);
}

int mlc_device_synchronize(struct mlc_device *device, const struct mlc_error *error)
{
    int status = mlc_device_check_late(device, device->cuda.StreamSynchronize(device->stream), error, "its stream failed");

    device->pending.count = 0;
    return status;
}

/* ---- memory ---- */

static CUresult allocate(struct mlc_device *device, size_t bytes, CUdeviceptr *out)
{
    return device->pooled ? device->cuda.MemAllocAsync(out, bytes, device->stream) : device->cuda.MemAlloc(out, bytes);
}

void *mlc_device_take(struct mlc_device *device, size_t bytes, const struct mlc_error *error)
{
    size_t rounded;
    void *block = mlc_device_memory_take(&device->memory, bytes < MLC_DEVICE_ALIGNMENT ? MLC_DEVICE_ALIGNMENT : bytes,
                                         &rounded);
    CUdeviceptr address = 0;
    char doing[160];

    if (block)
        return block;
    CUresult result = rounded ? allocate(device, rounded, &address) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_ERROR_OUT_OF_MEMORY && rounded) {
        mlc_device_trim(device);
        result = allocate(device, rounded, &address);
    }
    snprintf(doing, sizeof doing, "out of memory: %zu bytes are wanted, arrays and temporaries have %zu of %zu", bytes,
             device->memory.used, device->info.memory_bytes);
    if (mlc_device_check(device, result, error, doing))
        return NULL;
    mlc_device_memory_note(&device->memory, rounded);
    return (void *)(uintptr_t)address;
}

void mlc_device_give(struct mlc_device *device, void *block, size_t bytes)
{
    if (!is_of_parent(device))
        mlc_device_memory_give(&device->memory, block, bytes < MLC_DEVICE_ALIGNMENT ? MLC_DEVICE_ALIGNMENT : bytes);
}

void mlc_device_trim(struct mlc_device *device)
{
    void *block;

    while ((block = mlc_device_memory_drop(&device->memory))) {
        CUdeviceptr address = (uintptr_t)block;
        if (device->pooled)
            device->cuda.MemFreeAsync(address, device->stream);
        else
            device->cuda.MemFree(address); /* waits for the stream by itself */
    }
    if (device->pooled)
        device->cuda.StreamSynchronize(device->stream); /* errors come again with the next call */
}

/* ---- opening ---- */

static int attribute(const struct mlc_device *device, int which)
{
    int value = 0;
    device->cuda.DeviceGetAttribute(&value, which, device->handle);
    return value;
}

static void describe(struct mlc_device *device)
{
    struct mlc_device_info *info = &device->info;

    device->cuda.DeviceGetName(info->name, sizeof info->name, device->handle);
    device->cuda.DriverGetVersion(&info->driver);
    device->cuda.DeviceTotalMem(&info->memory_bytes, device->handle);
    info->major = attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    info->minor = attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    info->multiprocessors = attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    info->clock_khz = attribute(device, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
    info->memory_clock_khz = attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    info->bus_bits = attribute(device, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
    info->shared_bytes = attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
}

/* Pinned memory for copies. Without it they are slower. */
static int make_stages(struct mlc_device *device, const struct mlc_error *error)
{
    int status = 0;

    if (device->cuda.MemHostAlloc(&device->pinned, (size_t)MLC_STAGES * MLC_STAGE_BYTES, 0))
        device->pinned = NULL;
    for (int i = 0; i < MLC_STAGES && !status; i++) {
        device->stages[i] = device->pinned ? (char *)device->pinned + (size_t)i * MLC_STAGE_BYTES : NULL;
        status = mlc_device_check(device, device->cuda.EventCreate(&device->staged[i], 0), error, "no event");
    }
    return status;
}

/* What belongs to the context, which is current. */
static int fill_context(struct mlc_device *device, const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &device->cuda;
    int status = mlc_device_check(device, cuda->StreamCreate(&device->stream, CU_STREAM_NON_BLOCKING), error, "no stream");

    if (!status)
        status = mlc_device_check(device, cuda->EventCreate(&device->begin, 0), error, "no event");
    if (!status)
        status = mlc_device_check(device, cuda->EventCreate(&device->end, 0), error, "no event");
    if (!status)
        status = make_stages(device, error);
    device->pooled = attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) != 0;
    return status;
}

static int open_device(struct mlc_device *device, const char *path, int ordinal, const struct mlc_error *error)
{
    int count = 0, status = mlc_cuda_open(&device->cuda, path, error);
    const char *sync = getenv("MLC_CUDA_SYNC");

    if (status)
        return status;
    device->step_by_step = sync && *sync && strcmp(sync, "0") != 0;
    device->cuda.DeviceGetCount(&count);
    if (ordinal < 0 || ordinal >= count)
        return mlc_fail(error, -ENODEV, "%s is not there: the CUDA driver lists %d device%s", device->name, count,
                        count == 1 ? "" : "s");
    status = mlc_device_check(device, device->cuda.DeviceGet(&device->handle, ordinal), error, "it cannot be opened");
    if (!status)
        status = mlc_device_check(device, device->cuda.DevicePrimaryCtxRetain(&device->context, device->handle), error,
                                  "it has no context");
    if (status)
        return status;
    describe(device);
    status = mlc_device_hold(device, error);
    if (!status) {
        status = fill_context(device, error);
        mlc_device_release(device);
    }
    return status;
}

int mlc_device_open(const char *path, int ordinal, struct mlc_device **out, const struct mlc_error *error)
{
    struct mlc_device *device = calloc(1, sizeof *device);

    *out = NULL;
    if (!device)
        return mlc_fail(error, -ENOMEM, "out of memory");
    device->process = getpid();
    pthread_mutexattr_t again;
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&device->lock, &again);
    pthread_mutexattr_destroy(&again);
    pthread_mutex_init(&device->memory.lock, NULL);
    snprintf(device->name, sizeof device->name, "gpu:%d", ordinal);
    int status = open_device(device, path, ordinal, error);
    if (status)
        mlc_device_close(device);
    else
        *out = device;
    return status;
}

/* Free what belongs to the context. Of a lost device the driver frees it with the process. */
static void empty_context(struct mlc_device *device)
{
    const struct mlc_cuda *cuda = &device->cuda;

    if (device->stream)
        cuda->StreamSynchronize(device->stream);
    mlc_device_trim(device);
    if (device->pinned)
        cuda->MemFreeHost(device->pinned);
    for (int i = 0; i < MLC_STAGES; i++)
        if (device->staged[i])
            cuda->EventDestroy(device->staged[i]);
    if (device->begin)
        cuda->EventDestroy(device->begin);
    if (device->end)
        cuda->EventDestroy(device->end);
    if (device->stream)
        cuda->StreamDestroy(device->stream);
}

void mlc_device_close(struct mlc_device *device)
{
    if (!device || is_of_parent(device))
        return;
    if (device->context) {
        if (!mlc_device_hold(device, NULL)) {
            empty_context(device);
            mlc_device_release(device);
        }
        device->cuda.DevicePrimaryCtxRelease(device->handle);
    }
    mlc_cuda_close(&device->cuda);
    mlc_device_memory_free(&device->memory);
    pthread_mutex_destroy(&device->memory.lock);
    pthread_mutex_destroy(&device->lock);
    free(device);
}
