/* Finds the CUDA driver and its functions, and says what its error numbers mean. */
#include "cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const DEFAULT = "libcuda.so.1";

/* Look up every function. */
static int find_functions(struct mlc_cuda *cuda, const char *path, const struct mlc_error *error)
{
    void *found;

#define FIND(name, symbol, parameters)                                                                                 \
    found = dlsym(cuda->library, #symbol);                                                                             \
    if (!found)                                                                                                        \
        return mlc_fail(error, -ENODEV, "%s has no function %s: mlc needs the driver of CUDA 11.4 or later", path,     \
                        #symbol);                                                                                      \
    memcpy(&cuda->name, &found, sizeof found);
    MLC_CUDA_FUNCTIONS(FIND)
#undef FIND
    return 0;
}

int mlc_cuda_open(struct mlc_cuda *cuda, const char *path, const struct mlc_error *error)
{
    const char *named = getenv("MLC_LIBCUDA");
    int count = 0;

    memset(cuda, 0, sizeof *cuda);
    if (!path)
        path = named && *named ? named : DEFAULT;
    cuda->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!cuda->library) {
        const char *why = dlerror();
        return mlc_fail(error, -ENODEV, "no CUDA driver: %s cannot be loaded: %s", path, why ? why : "dlopen failed");
    }
    int status = find_functions(cuda, path, error);
    if (!status)
        status = mlc_cuda_check(cuda, cuda->Init(0), error, "the CUDA driver %s does not start", path);
    if (!status)
        status = mlc_cuda_check(cuda, cuda->DeviceGetCount(&count), error, "the CUDA driver %s lists no device", path);
    if (!status && count < 1)
        status = mlc_fail(error, -ENODEV, "the CUDA driver %s finds no device", path);
    if (status) {
        mlc_cuda_close(cuda);
        return -ENODEV;
    }
    return 0;
}

void mlc_cuda_close(struct mlc_cuda *cuda)
{
    memset(cuda, 0, sizeof *cuda);
}

static int errno_of(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
        return -ENOMEM;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
        return -ENODEV;
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_NOT_FOUND:
        return -ENOEXEC;
    case CUDA_ERROR_ECC_UNCORRECTABLE: /* from here on: the context is of no more use (cuda.h) */
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_HARDWARE_STACK_ERROR + 1: /* illegal instruction, misaligned address, invalid address space, ... */
    case CUDA_ERROR_HARDWARE_STACK_ERROR + 2:
    case CUDA_ERROR_HARDWARE_STACK_ERROR + 3:
    case CUDA_ERROR_HARDWARE_STACK_ERROR + 4:
    case CUDA_ERROR_LAUNCH_FAILED:
        return -ENOTRECOVERABLE;
    default:
        return -EIO;
    }
}

int mlc_cuda_check(const struct mlc_cuda *cuda, CUresult result, const struct mlc_error *error, const char *what, ...)
{
    const char *name = NULL, *words = NULL;
    char text[320];
    va_list arguments;

    if (result == CUDA_SUCCESS)
        return 0;
    va_start(arguments, what);
    vsnprintf(text, sizeof text, what, arguments);
    va_end(arguments);
    cuda->GetErrorName(result, &name);
    cuda->GetErrorString(result, &words);
    return mlc_fail(error, errno_of(result), "%s: %s (%s)", text, words ? words : "unknown error",
                    name ? name : "CUDA_ERROR_UNKNOWN");
}
