/*
 * NCCL, found at run time without its header: collectives among ranks whose buffers are in the memory of GPUs.
 *
 * One communicator a group of ranks and device, made when the first collective of that group starts: its member 0 makes
 * an id, which the others get over MPI. Collectives run on a stream of their own, behind what is on the device's stream
 * when they start. Whoever starts or tests one holds its device.
 */
#ifndef MLC_NCCL_H
#define MLC_NCCL_H

#include <stdbool.h>

#include "collective.h"
#include "device.h"

enum { MLC_NCCL_ID_BYTES = 128 };

/* By value, as NCCL takes it. */
struct mlc_nccl_id {
    char bytes[MLC_NCCL_ID_BYTES];
};

/* name, symbol, parameters; each returns 0 or a code for get_error_string */
#define MLC_NCCL_FUNCTIONS(F)                                                                                          \
    F(get_version, ncclGetVersion, (int *version))                                                                     \
    F(get_unique_id, ncclGetUniqueId, (struct mlc_nccl_id * id))                                                       \
    F(comm_init_rank, ncclCommInitRank, (void **comm, int ranks, struct mlc_nccl_id id, int rank))                     \
    F(comm_destroy, ncclCommDestroy, (void *comm))                                                                     \
    F(comm_abort, ncclCommAbort, (void *comm))                                                                         \
    F(comm_get_async_error, ncclCommGetAsyncError, (void *comm, int *error))                                           \
    F(all_reduce, ncclAllReduce,                                                                                       \
      (const void *source, void *destination, size_t count, int dtype, int op, void *comm, CUstream stream))           \
    F(all_gather, ncclAllGather,                                                                                       \
      (const void *source, void *destination, size_t sent, int dtype, void *comm, CUstream stream))                    \
    F(reduce_scatter, ncclReduceScatter,                                                                               \
      (const void *source, void *destination, size_t received, int dtype, int op, void *comm, CUstream stream))        \
    F(broadcast, ncclBroadcast,                                                                                        \
      (const void *source, void *destination, size_t count, int dtype, int root, void *comm, CUstream stream))

struct mlc_nccl {
    void *library; /* NULL: not opened yet */
    int version;   /* 10000 * major + 100 * minor + patch; below 2.9 1000 * major + 100 * minor + patch */
    char path[512];
    const char *(*get_error_string)(int code);
#define MLC_NCCL_MEMBER(name, symbol, parameters) int (*name) parameters;
    MLC_NCCL_FUNCTIONS(MLC_NCCL_MEMBER)
#undef MLC_NCCL_MEMBER
};

/*
 * Open NCCL for the rest of the process: what MLC_NCCL names, else libnccl.so.2 where the loader looks, else that of the
 * wheel nvidia-nccl below `folder` (NULL for none). Needs no device. -ENOENT where there is none, -ENOTSUP for one that
 * lacks a function, or that is older than 2.7.
 */
int mlc_nccl_load(struct mlc_nccl *nccl, const char *folder, const struct mlc_error *error);

/* The ranks of a group, each with one device. */
struct mlc_nccl_comm {
    const struct mlc_nccl *nccl;
    struct mlc_cuda cuda;
    CUcontext context;
    CUstream stream;
    CUevent ready; /* what the next collective reads is there */
    CUevent done[MLC_COLLECTIVE_SLOTS];
    void *comm;
    int place, size;
};

/*
 * Fill *id on one member of a group. And be member `place` of the group of `size` with that id, on `device`: blocks until
 * all are there. The caller frees *out with mlc_nccl_leave. -EIO with NCCL's words.
 */
int mlc_nccl_make_id(const struct mlc_nccl *nccl, struct mlc_nccl_id *id, const struct mlc_error *error);
int mlc_nccl_join(const struct mlc_nccl *nccl, struct mlc_device *device, const struct mlc_nccl_id *id, int place,
                  int size, struct mlc_nccl_comm **out, const struct mlc_error *error);

/* Leave it. `failed`: without waiting for the others. The device may be closed. NULL is fine. */
void mlc_nccl_leave(struct mlc_nccl_comm *comm, bool failed);

/*
 * Whether NCCL does this collective with the meaning that it has here: reductions of i16 and u16, most bitwise ones, and
 * maxima and minima of floats, which lose NaN there, are not.
 */
bool mlc_nccl_can(const struct mlc_collective *what);

/* Put a collective that NCCL can do on the stream; `slot` tells of its end. */
int mlc_nccl_start(struct mlc_nccl_comm *comm, uint32_t slot, const struct mlc_collective *what,
                   const struct mlc_error *error);

/* Whether the collective in `slot` is done. -EIO with what went wrong on the device or in NCCL. */
int mlc_nccl_test(struct mlc_nccl_comm *comm, uint32_t slot, bool *done, const struct mlc_error *error);

#endif
