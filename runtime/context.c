/* Creates contexts: chooses the number of threads and keeps the memory of calls. */
#include "context.h"

#include <errno.h>
#include <stdlib.h>

#include "memory.h"
#include "mlc.h"

/* MLC_NUM_THREADS where it is a sensible number, else the CPUs this process may use. */
static int default_threads(void)
{
    const char *text = getenv("MLC_NUM_THREADS");
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : 0;

    if (n < 1 || *end)
        n = mlc_cpu_count();
    return n < MLC_MAX_THREADS ? (int)n : MLC_MAX_THREADS;
}

int mlc_context_create(int threads, struct mlc_context **out)
{
    *out = NULL;
    if (threads < 0 || threads > MLC_MAX_THREADS)
        return -EINVAL;
    struct mlc_context *context = calloc(1, sizeof *context);
    if (!context)
        return -ENOMEM;
    context->error = (struct mlc_error){context->text, sizeof context->text};
    int status = mlc_pool_create(&context->pool, threads ? threads : default_threads());
    if (status)
        free(context);
    else
        *out = context;
    return status;
}

void mlc_context_destroy(struct mlc_context *context)
{
    if (!context)
        return;
    mlc_pool_destroy(&context->pool);
    mlc_memory_free(context->memory);
    free(context);
}

const char *mlc_context_error(const struct mlc_context *context)
{
    return context->text;
}

int mlc_context_began(const struct mlc_context *context)
{
    return context->began;
}

int mlc_context_threads(const struct mlc_context *context)
{
    return context->pool.threads;
}

void mlc_context_set_poll(struct mlc_context *context, int (*poll)(void *data), void *data)
{
    context->poll = poll;
    context->poll_data = data;
}

void mlc_context_set_world(struct mlc_context *context, struct mlc_world *world)
{
    context->world = world;
}

void *mlc_context_reserve(struct mlc_context *context, size_t bytes)
{
    if (bytes <= context->memory_bytes)
        return context->memory;
    mlc_memory_free(context->memory);
    context->memory = mlc_memory_allocate(bytes);
    context->memory_bytes = context->memory ? bytes : 0;
    return context->memory;
}
