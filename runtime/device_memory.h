/* Blocks of device memory that were given back, by size class: the next block of a class is the last one given. */
#ifndef MLC_DEVICE_MEMORY_H
#define MLC_DEVICE_MEMORY_H

#include <pthread.h>
#include <stddef.h>

#include "allocator.h"

/* Blocks of one class. */
struct mlc_free_list {
    void **blocks;
    size_t count, room;
};

/* Locks itself; never waits for the device. */
struct mlc_device_memory {
    pthread_mutex_t lock;
    size_t cached, used; /* bytes in the lists, and taken */
    struct mlc_free_list lists[MLC_SIZE_CLASSES];
};

/* A block for `bytes` bytes from the lists, or NULL; *rounded becomes the bytes that a new block has (0: too many). */
void *mlc_device_memory_take(struct mlc_device_memory *memory, size_t bytes, size_t *rounded);

/* Note that a block of `rounded` bytes came from the driver, for a taker. */
void mlc_device_memory_note(struct mlc_device_memory *memory, size_t rounded);

/* Keep a block that was taken for `bytes` bytes. Where the host is out of memory the block is lost to the process. */
void mlc_device_memory_give(struct mlc_device_memory *memory, void *block, size_t bytes);

/* Take any block out of the lists, to free it; NULL where they are empty. */
void *mlc_device_memory_drop(struct mlc_device_memory *memory);

void mlc_device_memory_free(struct mlc_device_memory *memory);

#endif
