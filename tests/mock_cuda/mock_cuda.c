/*
 * A CUDA driver without a device: memory is the host's, streams do everything at once, launches go to a callback.
 *
 * What is an error of the real driver's contract ends the call with the error that it gives: memory that was not
 * allocated, functions of other modules, use of a stream that is being captured. Failures of kernels come late, as they
 * do there: with the next call that waits, and then with every call. A child after a fork has no driver. Any function
 * can be told to fail.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda.h"

#define EXPORT __attribute__((visibility("default")))
enum { ALIGNMENT = 256, MOST_FAULTS = 16, NOT_INITIALIZED = 3, INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURE = 900 };

/* ---- what the tests give ---- */

struct mock_callbacks {
    /* A module's code: 0 or a CUresult; a refusal's words go to log. */
    int (*load)(long module, const char *image, char *log, size_t log_bytes);
    void (*unload)(long module);
    int (*parameters)(long module, const char *name); /* how many 8-byte parameters a kernel has; -1: there is none */
    int (*launch)(long module, const char *name, unsigned blocks, unsigned threads, unsigned shared, const uint64_t *parameters,
                  int n);
    void (*allocated)(uint64_t address, size_t bytes);
    void (*freed)(uint64_t address);
    void (*written)(uint64_t address, size_t bytes);                /* from the host */
    void (*copied)(uint64_t to, uint64_t from, size_t bytes);
};
static struct mock_callbacks callbacks;

static struct {
    char name[48];
    int countdown, result; /* fails when it gets to 0 */
} faults[MOST_FAULTS];

static struct call_count {
    char name[48];
    long count;
} counts[64];

static int devices = 1, major = 8, minor = 0, pools = 1;
static size_t limit = (size_t)1 << 30, described = (size_t)1 << 30, used;
static CUresult late;     /* of a kernel, not yet told */
static CUresult sticky;   /* told: every call fails */
static bool initialized;
static pid_t process;     /* that began; in a child after a fork nothing works */
static _Thread_local CUcontext contexts[16]; /* pushed, the current one last */
static _Thread_local int depth;

EXPORT void mock_set_callbacks(const struct mock_callbacks *given)
{
    callbacks = *given;
}

/* Forget faults and failures; the machine has `n` devices of this capability with `bytes` of memory each. */
EXPORT void mock_reset(int n, int capability_major, int capability_minor, size_t bytes, int has_pools)
{
    memset(faults, 0, sizeof faults);
    memset(counts, 0, sizeof counts);
    devices = n;
    described = bytes;
    major = capability_major;
    minor = capability_minor;
    limit = used + bytes; /* what earlier tests have is the past's */
    pools = has_pools;
    late = sticky = CUDA_SUCCESS;
}

/* The call of `name` that comes after `skip` others fails with `result`. */
EXPORT void mock_fail(const char *name, int skip, int result)
{
    for (int i = 0; i < MOST_FAULTS; i++) {
        if (*faults[i].name)
            continue;
        snprintf(faults[i].name, sizeof faults[i].name, "%s", name);
        faults[i].countdown = skip + 1;
        faults[i].result = result;
        return;
    }
}

EXPORT long mock_count(const char *name)
{
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (strcmp(counts[i].name, name) == 0)
            return counts[i].count;
    return 0;
}

EXPORT size_t mock_used(void)
{
    return used;
}

static void count(const char *name)
{
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (*counts[i].name && strcmp(counts[i].name, name) != 0)
            continue;
        snprintf(counts[i].name, sizeof counts[i].name, "%s", name);
        counts[i].count++;
        return;
    }
}

/* What a call begins with: the failure that it has to tell, or 0. */
static CUresult enter(const char *name, bool needs_context)
{
    count(name);
    for (int i = 0; i < MOST_FAULTS; i++) {
        if (strcmp(faults[i].name, name) == 0 && --faults[i].countdown == 0) {
            *faults[i].name = 0;
            return faults[i].result;
        }
    }
    if (!initialized || process != getpid())
        return NOT_INITIALIZED;
    if (sticky)
        return sticky;
    return needs_context && depth < 1 ? INVALID_CONTEXT : CUDA_SUCCESS;
}

#define ENTER(needs_context)                                                                                           \
    do {                                                                                                               \
        CUresult entered = enter(__func__, needs_context);                                                             \
        if (entered)                                                                                                   \
            return entered;                                                                                            \
    } while (0)

/* A kernel's failure comes out where somebody waits. */
static CUresult wait_all(void)
{
    if (late)
        sticky = late;
    late = CUDA_SUCCESS;
    return sticky;
}

/* ---- start, devices, contexts ---- */

EXPORT CUresult cuInit(unsigned flags)
{
    (void)flags;
    if (!initialized)
        process = getpid();
    initialized = true;
    return enter(__func__, false);
}

EXPORT CUresult cuDriverGetVersion(int *version)
{
    *version = 12040;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorName(CUresult error, const char **name)
{
    static char text[32];
    snprintf(text, sizeof text, "CUDA_ERROR_%d", error);
    *name = text;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char **text)
{
    *text = error == CUDA_ERROR_OUT_OF_MEMORY     ? "out of memory"
            : error == CUDA_ERROR_INVALID_PTX     ? "a PTX JIT compilation failed"
            : error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
            : error == CUDA_ERROR_LAUNCH_FAILED   ? "unspecified launch failure"
                                                  : "an error";
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetCount(int *found)
{
    ENTER(false);
    *found = devices;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER(false);
    *device = ordinal;
    return ordinal < devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

EXPORT CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    snprintf(name, (size_t)bytes, "Mock %d", device);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    (void)device;
    *bytes = described;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    (void)device;
    ENTER(false);
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? major
             : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? minor
             : attribute == CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED   ? pools
             : attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT     ? 108
             : attribute == CU_DEVICE_ATTRIBUTE_CLOCK_RATE               ? 1410000
             : attribute == CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE        ? 1215000
             : attribute == CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH  ? 5120
             : attribute == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? 163 << 10
                                                                                  : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER(false);
    *context = (CUcontext)(uintptr_t)(device + 1);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    (void)device;
    ENTER(false);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    ENTER(false);
    contexts[depth++] = context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context)
{
    ENTER(false);
    if (depth)
        contexts[depth - 1] = context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    *context = contexts[--depth];
    return CUDA_SUCCESS;
}

/* ---- memory ---- */

struct block {
    struct block *next;
    uint64_t address;
    size_t bytes;
    void *memory;
};
static struct block *blocks;

static bool is_inside(uint64_t address, size_t bytes)
{
    for (struct block *b = blocks; b; b = b->next)
        if (b->address <= address && address + bytes <= b->address + b->bytes)
            return true;
    return false;
}

static CUresult allocate(CUdeviceptr *address, size_t bytes)
{
    struct block *block = calloc(1, sizeof *block);

    if (!block || used + bytes > limit) {
        free(block);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (posix_memalign(&block->memory, ALIGNMENT, rounded)) {
        free(block);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(block->memory, 0xCD, rounded);
    *block = (struct block){blocks, (uintptr_t)block->memory, bytes, block->memory};
    blocks = block;
    used += bytes;
    *address = block->address;
    if (callbacks.allocated)
        callbacks.allocated(*address, bytes);
    return CUDA_SUCCESS;
}

static CUresult release(CUdeviceptr address)
{
    for (struct block **at = &blocks; *at; at = &(*at)->next) {
        struct block *block = *at;
        if (block->address != address)
            continue;
        *at = block->next;
        used -= block->bytes;
        if (callbacks.freed)
            callbacks.freed(address);
        free(block->memory);
        free(block);
        return CUDA_SUCCESS;
    }
    return INVALID_VALUE;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    ENTER(true);
    return bytes ? allocate(address, bytes) : INVALID_VALUE;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr address)
{
    ENTER(true);
    return release(address);
}

EXPORT CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    (void)flags;
    ENTER(true);
    *address = malloc(bytes);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemFreeHost(void *address)
{
    ENTER(true);
    free(address);
    return CUDA_SUCCESS;
}

/* ---- modules ---- */

struct CUmod_st {
    long number;
};
struct CUfunc_st {
    struct CUfunc_st *next;
    long module;
    char name[256];
    int parameters;
    int dynamic_shared;
};
static struct CUfunc_st *functions;
static long modules;

EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n, int *options, void **values)
{
    char *log = NULL;
    size_t log_bytes = 0;
    ENTER(true);
    for (unsigned i = 0; i < n; i++) {
        log = options[i] == CU_JIT_ERROR_LOG_BUFFER ? values[i] : log;
        log_bytes = options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES ? (size_t)(uintptr_t)values[i] : log_bytes;
    }
    int result = callbacks.load ? callbacks.load(modules + 1, image, log, log_bytes) : CUDA_SUCCESS;
    if (result)
        return result;
    *module = calloc(1, sizeof **module);
    (*module)->number = ++modules;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleUnload(CUmodule module)
{
    ENTER(true);
    if (callbacks.unload)
        callbacks.unload(module->number);
    free(module); /* its functions stay: a launch of one is found by its number */
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    ENTER(true);
    int parameters = callbacks.parameters ? callbacks.parameters(module->number, name) : 0;
    if (parameters < 0)
        return CUDA_ERROR_NOT_FOUND;
    struct CUfunc_st *found = calloc(1, sizeof *found);
    *found = (struct CUfunc_st){.next = functions, .module = module->number, .parameters = parameters};
    snprintf(found->name, sizeof found->name, "%s", name);
    functions = found;
    *function = found;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value)
{
    ENTER(true);
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > 163 << 10)
        return INVALID_VALUE;
    function->dynamic_shared = value;
    return CUDA_SUCCESS;
}

/* ---- what a stream does: now, or in a graph ---- */

enum what { LAUNCH, COPY, WRITE, READ };

struct operation {
    enum what what;
    CUfunction function;
    long module;
    unsigned blocks, threads, shared;
    uint64_t parameters[64];
    CUdeviceptr to, from;
    void *host;
    size_t bytes;
};

struct CUgraph_st {
    struct operation *operations;
    size_t n;
};

struct CUstream_st {
    CUgraph capturing;
    CUcontext context;
};

static bool is_here(CUstream stream)
{
    return stream->context == contexts[depth - 1];
}

struct CUevent_st {
    int recorded;
};

static CUresult perform(const struct operation *o)
{
    if (o->what == LAUNCH) {
        CUresult result = callbacks.launch ? callbacks.launch(o->module, o->function->name, o->blocks, o->threads, o->shared,
                                                              o->parameters, o->function->parameters)
                                           : CUDA_SUCCESS;
        late = late ? late : result;
        return CUDA_SUCCESS;
    }
    if ((o->what != READ && !is_inside(o->to, o->bytes)) || (o->what != WRITE && !is_inside(o->from, o->bytes)))
        return INVALID_VALUE;
    if (o->what == WRITE) {
        memcpy((void *)(uintptr_t)o->to, o->host, o->bytes);
        if (callbacks.written)
            callbacks.written(o->to, o->bytes);
    } else if (o->what == COPY) {
        memmove((void *)(uintptr_t)o->to, (void *)(uintptr_t)o->from, o->bytes);
        if (callbacks.copied)
            callbacks.copied(o->to, o->from, o->bytes);
    } else {
        memcpy(o->host, (void *)(uintptr_t)o->from, o->bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult put(CUstream stream, const struct operation *o)
{
    if (!is_here(stream))
        return INVALID_HANDLE;
    if (!stream->capturing)
        return perform(o);
    CUgraph graph = stream->capturing;
    graph->operations = realloc(graph->operations, (graph->n + 1) * sizeof *o);
    graph->operations[graph->n++] = *o;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    (void)flags;
    ENTER(true);
    *stream = calloc(1, sizeof **stream);
    (*stream)->context = contexts[depth - 1];
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamDestroy_v2(CUstream stream)
{
    ENTER(true);
    free(stream);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream stream)
{
    ENTER(true);
    return stream->capturing ? CAPTURE : wait_all();
}

EXPORT CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
    ENTER(true);
    return stream->capturing ? CAPTURE : bytes ? allocate(address, bytes) : INVALID_VALUE;
}

EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    ENTER(true);
    return stream->capturing ? CAPTURE : release(address);
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    ENTER(true);
    return put(stream, &(struct operation){.what = WRITE, .to = to, .host = (void *)(uintptr_t)from, .bytes = bytes});
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    ENTER(true);
    return put(stream, &(struct operation){.what = READ, .from = from, .host = to, .bytes = bytes});
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    ENTER(true);
    return put(stream, &(struct operation){.what = COPY, .to = to, .from = from, .bytes = bytes});
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                               unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra)
{
    ENTER(true);
    if (extra || !gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || function->parameters > 64)
        return INVALID_VALUE;
    if (shared > 48 << 10 && (int)shared > function->dynamic_shared)
        return INVALID_VALUE;
    struct operation o = {.what = LAUNCH, .function = function, .module = function->module, .blocks = gx,
                          .threads = bx, .shared = shared};
    for (int i = 0; i < function->parameters; i++)
        memcpy(&o.parameters[i], parameters[i], sizeof o.parameters[i]);
    return put(stream, &o);
}

/* ---- events ---- */

EXPORT CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    (void)flags;
    ENTER(true);
    *event = calloc(1, sizeof **event);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent event)
{
    ENTER(true);
    free(event);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    ENTER(true);
    if (!is_here(stream))
        return INVALID_HANDLE;
    event->recorded = 1;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventSynchronize(CUevent event)
{
    ENTER(true);
    return event->recorded ? wait_all() : CUDA_SUCCESS;
}

EXPORT CUresult cuEventQuery(CUevent event)
{
    ENTER(true);
    return event->recorded ? wait_all() : CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    ENTER(true);
    return stream->capturing || !event || flags ? INVALID_VALUE : CUDA_SUCCESS;
}

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    ENTER(true);
    *milliseconds = 0.001f;
    return start->recorded && end->recorded ? CUDA_SUCCESS : INVALID_VALUE;
}

/* ---- graphs ---- */

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    (void)mode;
    ENTER(true);
    if (stream->capturing)
        return CAPTURE;
    stream->capturing = calloc(1, sizeof *stream->capturing);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    *graph = stream->capturing;
    stream->capturing = NULL;
    ENTER(true);
    return *graph ? CUDA_SUCCESS : CAPTURE;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    (void)flags;
    ENTER(true);
    CUgraph copy = calloc(1, sizeof *copy);
    copy->n = graph->n;
    copy->operations = malloc((graph->n + 1) * sizeof *graph->operations);
    memcpy(copy->operations, graph->operations, graph->n * sizeof *graph->operations);
    *exec = (CUgraphExec)copy;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CUgraph graph = (CUgraph)exec;
    ENTER(true);
    if (!is_here(stream))
        return INVALID_HANDLE;
    for (size_t i = 0; i < graph->n; i++) {
        CUresult result = perform(&graph->operations[i]);
        if (result)
            return result;
    }
    return CUDA_SUCCESS;
}

static void free_graph(CUgraph graph)
{
    free(graph->operations);
    free(graph);
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    ENTER(true);
    free_graph((CUgraph)exec);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph graph)
{
    ENTER(true);
    free_graph(graph);
    return CUDA_SUCCESS;
}
