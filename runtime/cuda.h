/*
 * The part of the CUDA driver's interface that mlc calls, found with dlopen: no CUDA header, no link-time dependency.
 *
 * Names, types and numbers are those of cuda.h (CUDA 11.2 and later); a table of functions stands for the library.
 */
#ifndef MLC_CUDA_H
#define MLC_CUDA_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef int CUresult, CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

enum { /* CUresult */
    CUDA_SUCCESS = 0, CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NO_DEVICE = 100, CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200, CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_ECC_UNCORRECTABLE = 214, CUDA_ERROR_INVALID_PTX = 218, CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    CUDA_ERROR_NOT_FOUND = 500, CUDA_ERROR_NOT_READY = 600, CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702, CUDA_ERROR_ASSERT = 710, CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
    CUDA_ERROR_LAUNCH_FAILED = 719
};
enum { /* CUdevice_attribute */
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115
};
enum { CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 };
enum { CU_JIT_ERROR_LOG_BUFFER = 5, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6 };
enum { CU_EVENT_DISABLE_TIMING = 2, CU_STREAM_NON_BLOCKING = 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1 };

/* name, parameters; symbols carry the suffix of their version where the header's macros add one */
#define MLC_CUDA_FUNCTIONS(F)                                                                                          \
    F(Init, cuInit, (unsigned flags))                                                                                  \
    F(DriverGetVersion, cuDriverGetVersion, (int *version))                                                            \
    F(GetErrorName, cuGetErrorName, (CUresult error, const char **name))                                               \
    F(GetErrorString, cuGetErrorString, (CUresult error, const char **text))                                           \
    F(DeviceGetCount, cuDeviceGetCount, (int *count))                                                                  \
    F(DeviceGet, cuDeviceGet, (CUdevice * device, int ordinal))                                                        \
    F(DeviceGetName, cuDeviceGetName, (char *name, int bytes, CUdevice device))                                        \
    F(DeviceGetAttribute, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                          \
    F(DeviceTotalMem, cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))                                           \
    F(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                        \
    F(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                        \
    F(CtxPushCurrent, cuCtxPushCurrent_v2, (CUcontext context))                                                        \
    F(CtxPopCurrent, cuCtxPopCurrent_v2, (CUcontext * context))                                                        \
    F(CtxSetCurrent, cuCtxSetCurrent, (CUcontext context))                                                             \
    F(StreamCreate, cuStreamCreate, (CUstream * stream, unsigned flags))                                               \
    F(StreamDestroy, cuStreamDestroy_v2, (CUstream stream))                                                            \
    F(StreamSynchronize, cuStreamSynchronize, (CUstream stream))                                                       \
    F(StreamBeginCapture, cuStreamBeginCapture_v2, (CUstream stream, int mode))                                        \
    F(StreamEndCapture, cuStreamEndCapture, (CUstream stream, CUgraph * graph))                                        \
    F(EventCreate, cuEventCreate, (CUevent * event, unsigned flags))                                                   \
    F(EventDestroy, cuEventDestroy_v2, (CUevent event))                                                                \
    F(EventRecord, cuEventRecord, (CUevent event, CUstream stream))                                                    \
    F(StreamWaitEvent, cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                            \
    F(EventQuery, cuEventQuery, (CUevent event))                                                                       \
    F(EventSynchronize, cuEventSynchronize, (CUevent event))                                                           \
    F(EventElapsedTime, cuEventElapsedTime, (float *milliseconds, CUevent start, CUevent end))                         \
    F(GraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))    \
    F(GraphLaunch, cuGraphLaunch, (CUgraphExec exec, CUstream stream))                                                 \
    F(GraphExecDestroy, cuGraphExecDestroy, (CUgraphExec exec))                                                        \
    F(GraphDestroy, cuGraphDestroy, (CUgraph graph))                                                                   \
    F(MemAlloc, cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                  \
    F(MemFree, cuMemFree_v2, (CUdeviceptr address))                                                                    \
    F(MemAllocAsync, cuMemAllocAsync, (CUdeviceptr * address, size_t bytes, CUstream stream))                          \
    F(MemFreeAsync, cuMemFreeAsync, (CUdeviceptr address, CUstream stream))                                            \
    F(MemHostAlloc, cuMemHostAlloc, (void **address, size_t bytes, unsigned flags))                                    \
    F(MemFreeHost, cuMemFreeHost, (void *address))                                                                     \
    F(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))        \
    F(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))              \
    F(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))        \
    F(ModuleLoadDataEx, cuModuleLoadDataEx,                                                                            \
      (CUmodule * module, const void *image, unsigned n_options, int *options, void **values))                         \
    F(ModuleUnload, cuModuleUnload, (CUmodule module))                                                                 \
    F(ModuleGetFunction, cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))              \
    F(FuncSetAttribute, cuFuncSetAttribute, (CUfunction function, int attribute, int value))                           \
    F(LaunchKernel, cuLaunchKernel,                                                                                    \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,     \
       unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra))

/* The library's functions; zero-initialised is none. */
struct mlc_cuda {
    void *library;
#define MLC_CUDA_MEMBER(name, symbol, parameters) CUresult (*name) parameters;
    MLC_CUDA_FUNCTIONS(MLC_CUDA_MEMBER)
#undef MLC_CUDA_MEMBER
};

/*
 * Open the driver's library - `path`, or MLC_LIBCUDA where that is set, or libcuda.so.1 - and initialise it. -ENODEV with
 * a text that says what was looked for and why it is not usable: not there, a function missing, no device.
 */
int mlc_cuda_open(struct mlc_cuda *cuda, const char *path, const struct mlc_error *error);

/* Forget the functions. The library stays: the driver has threads of its own, and other users in the process. */
void mlc_cuda_close(struct mlc_cuda *cuda);

/*
 * 0 for CUDA_SUCCESS; else the errno value for `result`, and `error` becomes "WHAT: CUDA's words (CUDA's name)":
 * -ENOMEM, -ENOEXEC for code that the device does not take, -ENODEV, -ENOTRECOVERABLE for a device that is lost, -EIO for
 * others.
 */
int mlc_cuda_check(const struct mlc_cuda *cuda, CUresult result, const struct mlc_error *error, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

#endif
