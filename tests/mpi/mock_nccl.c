/*
 * NCCL for machines without a GPU: device memory is the host's, as the mock of the CUDA driver has it, and MPI, which runs
 * in this process, does the work while the call waits. What NCCL does not take is an error here, too.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "mpi_library.h"

#define EXPORT __attribute__((visibility("default")))
enum { INVALID_ARGUMENT = 4, INVALID_USAGE = 5, SYSTEM_ERROR = 2 };

struct id {
    char bytes[128];
};

struct comm {
    mlc_mpi_handle handle;
    int rank, size;
};

static struct mlc_mpi mpi;
static int ids;

/* ncclDataType_t as a position in mlc's list. */
static const int DTYPES[] = {MLC_I8, MLC_U8, MLC_I32, MLC_U32, MLC_I64, MLC_U64, MLC_F16, MLC_F32, MLC_F64, MLC_BF16};
static const int OPS[] = {MLC_ADD, MLC_MULTIPLY, MLC_MAXIMUM, MLC_MINIMUM};

EXPORT int ncclGetVersion(int *version)
{
    *version = 22304;
    return 0;
}

EXPORT const char *ncclGetErrorString(int code)
{
    return code == SYSTEM_ERROR ? "unhandled system error (a mock's)" : code ? "invalid (a mock's)" : "no error";
}

/* The MPI that runs in this process. */
static int load(void)
{
    struct mlc_error none = {NULL, 0};
    return mpi.comm_world ? 0 : mlc_mpi_load(&mpi, NULL, &none);
}

EXPORT int ncclGetUniqueId(struct id *id)
{
    memset(id, 0, sizeof *id);
    memcpy(id->bytes, "mock", 4);
    id->bytes[100] = (char)++ids;
    int rank = 0;
    if (!load())
        mpi.comm_rank(mpi.comm_world, &rank);
    id->bytes[101] = (char)rank;
    return getenv("MOCK_NCCL_NO_ID") ? SYSTEM_ERROR : 0;
}

EXPORT int ncclCommInitRank(struct comm **out, int size, struct id id, int rank)
{
    int got = 0;

    if (memcmp(id.bytes, "mock", 4) || !id.bytes[100] || rank < 0 || rank >= size)
        return INVALID_ARGUMENT;
    if (getenv("MOCK_NCCL_NO_COMM"))
        return SYSTEM_ERROR;
    if (load())
        return SYSTEM_ERROR;
    *out = calloc(1, sizeof **out);
    (*out)->rank = rank;
    (*out)->size = size;
    if (mpi.comm_split(mpi.comm_world, id.bytes[101], rank, &(*out)->handle)) /* the group of that member 0 */
        return SYSTEM_ERROR;
    mpi.comm_size((*out)->handle, &got);
    return got == size ? 0 : INVALID_USAGE;
}

EXPORT int ncclCommDestroy(struct comm *comm)
{
    mpi.comm_free(&comm->handle);
    free(comm);
    return 0;
}

EXPORT int ncclCommAbort(struct comm *comm)
{
    free(comm);
    return 0;
}

EXPORT int ncclCommGetAsyncError(struct comm *comm, int *error)
{
    *error = 0;
    return comm ? 0 : INVALID_ARGUMENT;
}

static int finish(int code, mlc_mpi_handle *request)
{
    int done = 0;

    while (!code && !done)
        code = mpi.test(request, &done, mpi.status_ignore);
    return code ? SYSTEM_ERROR : 0;
}

static int overlaps(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return (const char *)a < (const char *)b + b_bytes && (const char *)b < (const char *)a + a_bytes;
}

/* Put a result where the device wants it, by the driver's own means, so that its mock knows that it is written. */
static int deliver(void *destination, void *result, size_t bytes, int code, void *stream)
{
    typedef int (*copy)(uint64_t to, const void *from, size_t bytes, void *stream);
    const char *driver = getenv("MLC_LIBCUDA");
    void *library = driver ? dlopen(driver, RTLD_NOW) : NULL;
    copy upload = library ? (copy)(intptr_t)dlsym(library, "cuMemcpyHtoDAsync_v2") : NULL;

    if (!code && bytes)
        code = upload && !upload((uint64_t)(uintptr_t)destination, result, bytes, stream) ? 0 : SYSTEM_ERROR;
    free(result);
    return code;
}

EXPORT int ncclAllReduce(const void *source, void *destination, size_t count, int dtype, int op, struct comm *comm,
                         void *stream)
{
    mlc_mpi_handle request = NULL;
    int type = DTYPES[dtype];
    size_t bytes = count * mlc_dtype_bytes((uint32_t)type);

    if (!stream || type == MLC_F16 || type == MLC_BF16)
        return INVALID_USAGE;
    void *result = malloc(bytes + 1);
    int code = mpi.iallreduce(source, result, (int)count, mpi.datatypes[type], mpi.ops[OPS[op]], comm->handle, &request);
    return deliver(destination, result, bytes, finish(code, &request), stream);
}

EXPORT int ncclAllGather(const void *source, void *destination, size_t count, int dtype, struct comm *comm, void *stream)
{
    mlc_mpi_handle request = NULL, type = mpi.datatypes[DTYPES[dtype]];
    size_t bytes = count * mlc_dtype_bytes((uint32_t)DTYPES[dtype]), whole = bytes * (size_t)comm->size;
    const void *own = (const char *)destination + (size_t)comm->rank * bytes;

    if (!stream || (source != own && overlaps(source, bytes, destination, whole)))
        return INVALID_USAGE;
    void *result = malloc(whole + 1);
    int code = mpi.iallgather(source, (int)count, type, result, (int)count, type, comm->handle, &request);
    return deliver(destination, result, whole, finish(code, &request), stream);
}

EXPORT int ncclReduceScatter(const void *source, void *destination, size_t count, int dtype, int op, struct comm *comm,
                             void *stream)
{
    mlc_mpi_handle request = NULL;
    int type = DTYPES[dtype];
    size_t bytes = count * mlc_dtype_bytes((uint32_t)type);
    const void *own = (const char *)source + (size_t)comm->rank * bytes;

    if (!stream || (destination != own && overlaps(source, bytes * (size_t)comm->size, destination, bytes)))
        return INVALID_USAGE;
    void *result = malloc(bytes + 1);
    int code = mpi.ireduce_scatter_block(source, result, (int)count, mpi.datatypes[type], mpi.ops[OPS[op]], comm->handle,
                                         &request);
    return deliver(destination, result, bytes, finish(code, &request), stream);
}

EXPORT int ncclBroadcast(const void *source, void *destination, size_t count, int dtype, int root, struct comm *comm,
                         void *stream)
{
    mlc_mpi_handle request = NULL;
    size_t bytes = count * mlc_dtype_bytes((uint32_t)DTYPES[dtype]);

    if (!stream)
        return INVALID_USAGE;
    void *result = malloc(bytes + 1);
    if (comm->rank == root)
        memcpy(result, source, bytes);
    int code = mpi.ibcast(result, (int)count, mpi.datatypes[DTYPES[dtype]], root, comm->handle, &request);
    return deliver(destination, result, bytes, finish(code, &request), stream);
}
