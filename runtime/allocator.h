/* A caching allocator for array memory: freed blocks are kept in lists by size class, up to a bound in bytes. */
#ifndef MLC_ALLOCATOR_H
#define MLC_ALLOCATOR_H

#include <stddef.h>

enum { MLC_SIZE_CLASSES = 256 };

/* The class of `bytes`, and in *rounded the bytes of its blocks; -1 (and 0) for sizes that no machine has. */
int mlc_size_class(size_t bytes, size_t *rounded);

/* One thread at a time. Zero-initialised with a `limit` is ready for use. */
struct mlc_allocator {
    size_t limit;  /* most bytes to keep in free lists */
    size_t cached; /* bytes in free lists */
    void *free[MLC_SIZE_CLASSES]; /* blocks; the first word of each is the next block */
};

/* A block for `bytes` bytes, aligned to MLC_ALIGNMENT, contents undefined; NULL where memory is out. Never NULL for 0. */
void *mlc_allocator_take(struct mlc_allocator *allocator, size_t bytes);

/* Give back a block that was taken for `bytes` bytes. */
void mlc_allocator_give(struct mlc_allocator *allocator, void *block, size_t bytes);

/* Return all cached blocks to the system. */
void mlc_allocator_trim(struct mlc_allocator *allocator);

#endif
