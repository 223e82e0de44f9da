/* Memory: aligned blocks for data, and a region that frees many small objects at once. */
#ifndef MLC_MEMORY_H
#define MLC_MEMORY_H

#include <stddef.h>

/*
 * A block of at least `bytes` bytes aligned to MLC_ALIGNMENT (large ones to huge pages), or NULL. Contents are
 * undefined; free it with mlc_memory_free. Any thread.
 */
void *mlc_memory_allocate(size_t bytes);
void mlc_memory_free(void *block);

/* `bytes` rounded up to MLC_ALIGNMENT; SIZE_MAX where that overflows. */
size_t mlc_memory_round(size_t bytes);

/* Objects that live and die together. Zero-initialised is empty; one thread at a time. */
struct mlc_region {
    struct mlc_region_chunk *chunks;
    size_t used, capacity; /* of the newest chunk */
};

/* `count` zeroed objects of `size` bytes, aligned for any type, or NULL. Never NULL for count 0 while memory lasts. */
void *mlc_region_allocate(struct mlc_region *region, size_t count, size_t size);
void mlc_region_free(struct mlc_region *region);

#endif
