/* Runs collectives of device memory through NCCL, on a stream beside the device's own. */
#include "nccl.h"

#include <errno.h>
#include <stdlib.h>

#include "plan.h"

enum { NCCL_UINT8 = 1, NCCL_SUM = 0, NCCL_PROD = 1, NCCL_MAX = 2, NCCL_MIN = 3, NCCL_IN_PROGRESS = 7, NONE = -1 };

/* ncclDataType_t by position in mlc.ir.types.DTYPES: f16 bf16 f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool */
static const int DTYPES[] = {6, 9, 7, 8, 0, NONE, 2, 4, 1, NONE, 3, 5, NCCL_UINT8};

/* ncclRedOp_t by reduction: add multiply maximum minimum and or xor; of a bool, which is 0 or 1 */
static const int OPS[] = {NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN, NONE, NONE, NONE};
static const int BOOL_OPS[] = {NCCL_MAX, NCCL_MIN, NCCL_MAX, NCCL_MIN, NCCL_MIN, NCCL_MAX, NONE};

static int op_of(const struct mlc_collective *what)
{
    return (what->dtype == MLC_BOOL ? BOOL_OPS : OPS)[what->reduction];
}

bool mlc_nccl_can(const struct mlc_collective *what)
{
    bool extreme = what->reduction == MLC_MAXIMUM || what->reduction == MLC_MINIMUM;

    if (what->kind != MLC_ALL_REDUCE && what->kind != MLC_REDUCE_SCATTER)
        return true; /* bytes */
    return DTYPES[what->dtype] != NONE && op_of(what) != NONE && !(extreme && what->dtype <= MLC_F64);
}

static int check(const struct mlc_nccl *nccl, int code, const char *doing, const struct mlc_error *error)
{
    int v = nccl->version, major = v < 10000 ? 1000 : 10000; /* 2.9 began to count otherwise */

    if (code == 0 || code == NCCL_IN_PROGRESS)
        return 0;
    return mlc_fail(error, -EIO, "%s: NCCL %d.%d.%d says %s (%d)", doing, v / major, v % major / 100, v % 100,
                    nccl->get_error_string(code), code);
}

int mlc_nccl_make_id(const struct mlc_nccl *nccl, struct mlc_nccl_id *id, const struct mlc_error *error)
{
    return check(nccl, nccl->get_unique_id(id), "an id for a group of GPUs", error);
}

static int make_stream(struct mlc_nccl_comm *comm, const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &comm->cuda;
    CUresult result = cuda->StreamCreate(&comm->stream, CU_STREAM_NON_BLOCKING);

    if (!result)
        result = cuda->EventCreate(&comm->ready, CU_EVENT_DISABLE_TIMING);
    for (int i = 0; i < MLC_COLLECTIVE_SLOTS && !result; i++)
        result = cuda->EventCreate(&comm->done[i], CU_EVENT_DISABLE_TIMING);
    return mlc_cuda_check(cuda, result, error, "the stream of collectives");
}

int mlc_nccl_join(const struct mlc_nccl *nccl, struct mlc_device *device, const struct mlc_nccl_id *id, int place,
                  int size, struct mlc_nccl_comm **out, const struct mlc_error *error)
{
    struct mlc_nccl_comm *comm = calloc(1, sizeof *comm);
    int status;

    *out = NULL;
    if (!comm)
        return mlc_fail(error, -ENOMEM, "out of memory");
    *comm = (struct mlc_nccl_comm){.nccl = nccl, .cuda = device->cuda, .context = device->context, .place = place,
                                   .size = size};
    status = make_stream(comm, error);
    if (!status)
        status = check(nccl, nccl->comm_init_rank(&comm->comm, size, *id, place), "joining a group of GPUs", error);
    if (status)
        mlc_nccl_leave(comm, true);
    else
        *out = comm;
    return status;
}

void mlc_nccl_leave(struct mlc_nccl_comm *comm, bool failed)
{
    const struct mlc_cuda *cuda;

    if (!comm)
        return;
    cuda = &comm->cuda;
    if (cuda->CtxPushCurrent(comm->context) == 0) { /* else it is gone, and all that it had */
        if (comm->comm)
            (failed ? comm->nccl->comm_abort : comm->nccl->comm_destroy)(comm->comm);
        for (int i = 0; i < MLC_COLLECTIVE_SLOTS; i++)
            if (comm->done[i])
                cuda->EventDestroy(comm->done[i]);
        if (comm->ready)
            cuda->EventDestroy(comm->ready);
        if (comm->stream)
            cuda->StreamDestroy(comm->stream);
        cuda->CtxPopCurrent(&comm->context);
    }
    free(comm);
}

/* A reduce_scatter in place has its block at the front; NCCL wants it where it lies in the source. */
static int reduce_scatter(struct mlc_nccl_comm *comm, const struct mlc_collective *what, const struct mlc_error *error)
{
    size_t count = (size_t)what->count, bytes = count * mlc_dtype_bytes(what->dtype);
    char *target = what->destination;
    int status;

    if (what->source == what->destination)
        target += (size_t)comm->place * bytes;
    status = check(comm->nccl,
                   comm->nccl->reduce_scatter(what->source, target, count, DTYPES[what->dtype], op_of(what), comm->comm,
                                              comm->stream),
                   what->label, error);
    if (status || target == what->destination || !bytes)
        return status;
    return mlc_cuda_check(&comm->cuda,
                          comm->cuda.MemcpyDtoDAsync((CUdeviceptr)what->destination, (CUdeviceptr)target, bytes,
                                                     comm->stream),
                          error, "%s", what->label);
}

static int call(struct mlc_nccl_comm *comm, const struct mlc_collective *what, const struct mlc_error *error)
{
    const struct mlc_nccl *nccl = comm->nccl;
    size_t count = (size_t)what->count, bytes = count * mlc_dtype_bytes(what->dtype);
    int code;

    if (what->kind == MLC_REDUCE_SCATTER)
        return reduce_scatter(comm, what, error);
    if (what->kind == MLC_ALL_REDUCE)
        code = nccl->all_reduce(what->source, what->destination, count, DTYPES[what->dtype], op_of(what), comm->comm,
                                comm->stream);
    else if (what->kind == MLC_ALL_GATHER)
        code = nccl->all_gather(what->source, what->destination, bytes, NCCL_UINT8, comm->comm, comm->stream);
    else
        code = nccl->broadcast(what->source, what->destination, bytes, NCCL_UINT8, (int)what->root, comm->comm,
                               comm->stream);
    return check(nccl, code, what->label, error);
}

int mlc_nccl_start(struct mlc_nccl_comm *comm, uint32_t slot, const struct mlc_collective *what,
                   const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &comm->cuda;
    CUresult result = cuda->EventRecord(comm->ready, what->device->stream);

    if (!result)
        result = cuda->StreamWaitEvent(comm->stream, comm->ready, 0);
    int status = mlc_cuda_check(cuda, result, error, "%s", what->label);
    if (!status)
        status = call(comm, what, error);
    if (!status)
        status = mlc_cuda_check(cuda, cuda->EventRecord(comm->done[slot], comm->stream), error, "%s", what->label);
    return status;
}

int mlc_nccl_test(struct mlc_nccl_comm *comm, uint32_t slot, bool *done, const struct mlc_error *error)
{
    CUresult result = comm->cuda.EventQuery(comm->done[slot]);
    int code = 0;

    *done = result == CUDA_SUCCESS;
    if (*done)
        return 0;
    if (result != CUDA_ERROR_NOT_READY)
        return mlc_cuda_check(&comm->cuda, result, error, "a collective on a GPU");
    if (comm->nccl->comm_get_async_error(comm->comm, &code))
        code = 0;
    return check(comm->nccl, code, "a collective on a GPU", error);
}
