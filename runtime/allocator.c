/* Size classes are 4 per octave from 64 bytes on, so at most a fifth of a block is unused. */
#include "allocator.h"

#include "memory.h"

enum { SMALLEST_LOG2 = 6 };

int mlc_size_class(size_t bytes, size_t *rounded)
{
    if (bytes <= (size_t)1 << SMALLEST_LOG2) {
        *rounded = (size_t)1 << SMALLEST_LOG2;
        return 0;
    }
    *rounded = 0;
    if (bytes > (size_t)1 << 56)
        return -1;
    int octave = 63 - __builtin_clzll((unsigned long long)(bytes - 1)); /* 2^octave < bytes <= 2^(octave + 1) */
    size_t quarter = (size_t)1 << (octave - 2);
    size_t quarters = (bytes + quarter - 1) / quarter; /* 5..8 */
    *rounded = quarters * quarter;
    return (octave - SMALLEST_LOG2) * 4 + (int)quarters - 4;
}

void *mlc_allocator_take(struct mlc_allocator *allocator, size_t bytes)
{
    size_t rounded;
    int class = mlc_size_class(bytes, &rounded);

    if (class < 0)
        return NULL;
    void **block = allocator->free[class];
    if (block) {
        allocator->free[class] = *block;
        allocator->cached -= rounded;
        return block;
    }
    block = mlc_memory_allocate(rounded);
    if (!block) {
        mlc_allocator_trim(allocator);
        block = mlc_memory_allocate(rounded);
    }
    return block;
}

void mlc_allocator_give(struct mlc_allocator *allocator, void *block, size_t bytes)
{
    size_t rounded;
    int class = mlc_size_class(bytes, &rounded);

    if (allocator->cached + rounded > allocator->limit) {
        mlc_memory_free(block);
        return;
    }
    *(void **)block = allocator->free[class];
    allocator->free[class] = block;
    allocator->cached += rounded;
}

void mlc_allocator_trim(struct mlc_allocator *allocator)
{
    for (int class = 0; class < MLC_SIZE_CLASSES; class++) {
        while (allocator->free[class]) {
            void **block = allocator->free[class];
            allocator->free[class] = *block;
            mlc_memory_free(block);
        }
    }
    allocator->cached = 0;
}
