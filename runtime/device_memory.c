/* Free lists of device memory. Links cannot lie in the blocks themselves, which the host does not reach. */
#include "device_memory.h"

#include <stdlib.h>
#include <string.h>

void *mlc_device_memory_take(struct mlc_device_memory *memory, size_t bytes, size_t *rounded)
{
    int class = mlc_size_class(bytes, rounded);
    void *block = NULL;

    if (class < 0)
        return NULL;
    pthread_mutex_lock(&memory->lock);
    struct mlc_free_list *list = &memory->lists[class];
    if (list->count) {
        block = list->blocks[--list->count];
        memory->cached -= *rounded;
        memory->used += *rounded;
    }
    pthread_mutex_unlock(&memory->lock);
    return block;
}

void mlc_device_memory_note(struct mlc_device_memory *memory, size_t rounded)
{
    pthread_mutex_lock(&memory->lock);
    memory->used += rounded;
    pthread_mutex_unlock(&memory->lock);
}

/* Room for one more block; 0 where the host has none. */
static int grow(struct mlc_free_list *list)
{
    if (list->count < list->room)
        return 1;
    size_t room = list->room ? 2 * list->room : 8;
    void **blocks = realloc(list->blocks, room * sizeof *blocks);
    if (!blocks)
        return 0;
    list->blocks = blocks;
    list->room = room;
    return 1;
}

void mlc_device_memory_give(struct mlc_device_memory *memory, void *block, size_t bytes)
{
    size_t rounded;
    int class = mlc_size_class(bytes, &rounded);

    pthread_mutex_lock(&memory->lock);
    struct mlc_free_list *list = &memory->lists[class];
    if (grow(list)) {
        list->blocks[list->count++] = block;
        memory->cached += rounded;
    }
    memory->used -= rounded;
    pthread_mutex_unlock(&memory->lock);
}

void *mlc_device_memory_drop(struct mlc_device_memory *memory)
{
    void *block = NULL;

    pthread_mutex_lock(&memory->lock);
    for (int class = MLC_SIZE_CLASSES - 1; class >= 0 && !block; class--)
        if (memory->lists[class].count)
            block = memory->lists[class].blocks[--memory->lists[class].count];
    if (!block)
        memory->cached = 0;
    pthread_mutex_unlock(&memory->lock);
    return block;
}

void mlc_device_memory_free(struct mlc_device_memory *memory)
{
    for (int class = 0; class < MLC_SIZE_CLASSES; class++)
        free(memory->lists[class].blocks);
    memset(memory->lists, 0, sizeof memory->lists);
}
