/* Aligned blocks (huge pages for large ones) and regions. */
#define _GNU_SOURCE
#include "memory.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mlc.h"

enum { HUGE_PAGE = 2 << 20, CHUNK = 4096 };

struct mlc_region_chunk {
    struct mlc_region_chunk *next;
    alignas(max_align_t) unsigned char bytes[];
};

size_t mlc_memory_round(size_t bytes)
{
    size_t rounded;
    if (__builtin_add_overflow(bytes, MLC_ALIGNMENT - 1, &rounded))
        return SIZE_MAX;
    return rounded / MLC_ALIGNMENT * MLC_ALIGNMENT;
}

void *mlc_memory_allocate(size_t bytes)
{
    int huge = bytes >= 2 * (size_t)HUGE_PAGE;
    void *block = NULL;

    if (bytes > PTRDIFF_MAX || posix_memalign(&block, huge ? HUGE_PAGE : MLC_ALIGNMENT, bytes ? bytes : 1))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (huge)
        madvise(block, bytes, MADV_HUGEPAGE); /* a wish; failure costs only speed */
#endif
    return block;
}

void mlc_memory_free(void *block)
{
    free(block);
}

void *mlc_region_allocate(struct mlc_region *region, size_t count, size_t size)
{
    const size_t unit = alignof(max_align_t);
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX / 2)
        return NULL;
    bytes = bytes ? (bytes + unit - 1) / unit * unit : unit;
    if (!region->chunks || region->capacity - region->used < bytes) {
        size_t capacity = bytes > CHUNK ? bytes : CHUNK;
        struct mlc_region_chunk *chunk = malloc(sizeof *chunk + capacity);
        if (!chunk)
            return NULL;
        chunk->next = region->chunks;
        region->chunks = chunk;
        region->used = 0;
        region->capacity = capacity;
    }
    void *object = region->chunks->bytes + region->used;
    region->used += bytes;
    return memset(object, 0, bytes);
}

void mlc_region_free(struct mlc_region *region)
{
    while (region->chunks) {
        struct mlc_region_chunk *next = region->chunks->next;
        free(region->chunks);
        region->chunks = next;
    }
    region->used = region->capacity = 0;
}
