/*
 * A device beside the host: its memory, its one stream on which everything happens in order, and copies.
 *
 * Whoever calls a function that takes a device holds it (mlc_device_hold), unless the comment says otherwise. Addresses
 * of device memory are void pointers that the host must not follow.
 */
#ifndef MLC_DEVICE_H
#define MLC_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cuda.h"
#include "device_memory.h"

enum { MLC_STAGES = 16, MLC_STAGE_BYTES = 1 << 20, MLC_DEVICE_ALIGNMENT = 256, MLC_VECTOR_BYTES = 16 };

/* Launches in a row: how many, and the names of the first and the last, which are a program's. */
struct mlc_launches {
    long count;
    const char *first_kernel, *first_label, *last_kernel, *last_label;
};

/* What the driver says of a device. */
struct mlc_device_info {
    char name[128]; /* the product's */
    int driver;     /* 1000 * major + 10 * minor: of the newest CUDA that the driver takes */
    int major, minor; /* compute capability */
    int multiprocessors, clock_khz, memory_clock_khz, bus_bits, shared_bytes;
    size_t memory_bytes;
};

struct mlc_device {
    char name[32]; /* "gpu:0" */
    struct mlc_cuda cuda;
    struct mlc_device_info info;
    CUdevice handle;
    CUcontext context;
    CUstream stream;
    CUevent begin, end; /* of what is being measured */
    pid_t process; /* that opened it: no context goes over a fork, and a lock may stay held in a child */
    pthread_mutex_t lock;
    struct mlc_device_memory memory;
    bool pooled;     /* memory comes from the driver's stream-ordered pool, which keeps nothing that nobody uses */
    bool step_by_step; /* MLC_CUDA_SYNC: wait for every launch, so that an error names its kernel */
    void *pinned; /* host memory that copies go through, MLC_STAGES blocks; NULL where the driver gives none */
    void *stages[MLC_STAGES]; /* the blocks */
    CUevent staged[MLC_STAGES]; /* the copy through it is done */
    size_t next_stage; /* counts copies: they take turns, so that a call's uploads do not wait for the call before */
    struct mlc_launches pending; /* since the stream was last seen empty, for errors that come late */
    char lost[320]; /* why the device cannot be used any more, or "" */
};

/*
 * Open device `ordinal` of the CUDA driver (of the library at `path`, or as mlc_cuda_open finds it), in its primary
 * context, which other libraries of the process share. -ENODEV, -ENOMEM with a text. Held by nobody yet.
 */
int mlc_device_open(const char *path, int ordinal, struct mlc_device **out, const struct mlc_error *error);

/*
 * Wait for the device and free all that it has; of which a child after a fork has nothing. Nobody may hold or use it.
 * NULL is fine.
 */
void mlc_device_close(struct mlc_device *device);

/*
 * Be the one thread that uses the device, until released as often as held: what a poll of a run calls may use it too.
 * Fails, not held, with -ENOTRECOVERABLE where the device is lost, and with -EIO in a child after a fork.
 */
int mlc_device_hold(struct mlc_device *device, const struct mlc_error *error);
void mlc_device_release(struct mlc_device *device);

/* Add `more` behind what `launches` are. */
void mlc_launches_add(struct mlc_launches *launches, const struct mlc_launches *more);

/* Wait until the stream is empty. Errors are of what went wrong there: the text names the kernels that may have done it. */
int mlc_device_synchronize(struct mlc_device *device, const struct mlc_error *error);

/*
 * As mlc_cuda_check, and an error that ends the context makes the device lost: `doing` says what failed, behind the
 * device's name.
 */
int mlc_device_check(struct mlc_device *device, CUresult result, const struct mlc_error *error, const char *doing);

/* The same for a call that may tell of what failed on the stream before: then the text names those kernels instead. */
int mlc_device_check_late(struct mlc_device *device, CUresult result, const struct mlc_error *error, const char *doing);

/* A block of at least `bytes` bytes, aligned to MLC_DEVICE_ALIGNMENT, or NULL with a text. Never NULL for 0 bytes. */
void *mlc_device_take(struct mlc_device *device, size_t bytes, const struct mlc_error *error);

/*
 * Give back a block taken for `bytes` bytes; what is on the stream may still use it. Anybody may, holding or not; a
 * child after a fork gives nothing back, for it is the parent's.
 */
void mlc_device_give(struct mlc_device *device, void *block, size_t bytes);

/* Return all blocks that were given back to the driver. */
void mlc_device_trim(struct mlc_device *device);

/*
 * Copies on the stream. upload returns when `from` may change; download when `to` is there, so that it also tells of
 * earlier errors; move, within the device, at once.
 */
int mlc_device_upload(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error);
int mlc_device_download(struct mlc_device *device, void *to, const void *from, size_t bytes,
                        const struct mlc_error *error);
int mlc_device_move(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error);

#endif
