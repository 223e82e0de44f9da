/* A context: the threads and the memory that calls share, one call at a time. */
#ifndef MLC_CONTEXT_H
#define MLC_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "pool.h"

struct mlc_context {
    struct mlc_pool pool;
    void *memory; /* tables, arena and scratch of the running call; kept between calls, grown on demand */
    size_t memory_bytes;
    char text[512];
    struct mlc_error error; /* over `text` */
    bool began; /* the last run came to its steps */
    int (*poll)(void *data); /* asked in long loops whether to stop, or NULL */
    void *poll_data;
    int64_t next_poll; /* milliseconds of the coarse clock; of worker 0 */
    struct mlc_world *world; /* what collectives of running programs are among, or NULL; the owner's */
};

/* At least `bytes` bytes of the context's memory, contents undefined; NULL where memory is out. */
void *mlc_context_reserve(struct mlc_context *context, size_t bytes);

#endif
