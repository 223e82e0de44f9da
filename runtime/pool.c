/* Threads that walk together: start gate, barrier, status. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mlc.h"

/* About 50 us of pauses on recent x86: longer than the gap between two steps, shorter than a time slice. */
enum { SPINS = 1000 };

static void *worker_main(void *argument)
{
    struct mlc_worker *worker = argument;
    struct mlc_pool *pool = worker->pool;

    for (uint32_t seen = worker->seen;; seen++) {
        mlc_gate_wait(&pool->start, seen, pool->spins);
        if (pool->stop)
            return NULL;
        pool->function(pool, pool->data, worker->index);
        mlc_pool_meet(pool);
    }
}

/* Let started threads run into `stop` and end. */
static void stop_threads(struct mlc_pool *pool)
{
    pool->stop = true;
    mlc_gate_open(&pool->start);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pool->started = 0;
    pool->stop = false;
}

/* Start all threads with every signal blocked, so that Ctrl-C reaches the caller's thread. */
static int start_threads(struct mlc_pool *pool)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < pool->threads - 1 && !error; i++) {
        struct mlc_worker *worker = &pool->workers[i];
        *worker = (struct mlc_worker){.pool = pool, .index = i + 1, .seen = atomic_load(&pool->start.opened)};
        error = pthread_create(&worker->thread, NULL, worker_main, worker);
        pool->started += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        stop_threads(pool);
    return -error;
}

/* Threads do not survive a fork: a child starts its own, with gates nobody waits at. */
static int ensure_threads(struct mlc_pool *pool)
{
    pid_t process = getpid();

    if (process != pool->owner) {
        pool->owner = process;
        pool->started = 0;
        memset(&pool->start, 0, sizeof pool->start);
        memset(&pool->meet, 0, sizeof pool->meet);
        atomic_store(&pool->arrived, 0);
    }
    return pool->started == pool->threads - 1 ? 0 : start_threads(pool);
}

int mlc_pool_create(struct mlc_pool *pool, int threads)
{
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    pool->spins = threads > 1 && threads <= mlc_cpu_count() ? SPINS : 0;
    pool->owner = getpid();
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    return pool->workers ? 0 : -ENOMEM;
}

void mlc_pool_destroy(struct mlc_pool *pool)
{
    if (pool->started && pool->owner == getpid())
        stop_threads(pool);
    free(pool->workers);
    pool->workers = NULL;
}

int mlc_pool_run(struct mlc_pool *pool, mlc_team_function function, void *data)
{
    if (ensure_threads(pool))
        return -EAGAIN;
    atomic_store_explicit(&pool->status, 0, memory_order_relaxed);
    pool->function = function;
    pool->data = data;
    mlc_gate_open(&pool->start);
    function(pool, data, 0);
    return mlc_pool_meet(pool);
}

int mlc_pool_run_alone(struct mlc_pool *pool, mlc_team_function function, void *data)
{
    atomic_store_explicit(&pool->status, 0, memory_order_relaxed);
    function(pool, data, 0);
    return atomic_load_explicit(&pool->status, memory_order_relaxed);
}

void mlc_pool_post(struct mlc_pool *pool, int status)
{
    int none = 0;
    atomic_compare_exchange_strong(&pool->status, &none, status);
}

static int meet(struct mlc_pool *pool, mlc_pool_reader read, const void *data)
{
    uint32_t opened = atomic_load(&pool->meet.opened);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 < pool->threads) {
        mlc_gate_wait(&pool->meet, opened, pool->spins);
    } else {
        atomic_store(&pool->arrived, 0);
        pool->agreed = atomic_load(&pool->status);
        if (read)
            pool->read = read(data);
        mlc_gate_open(&pool->meet);
    }
    return pool->agreed;
}

int mlc_pool_meet(struct mlc_pool *pool)
{
    return meet(pool, NULL, NULL);
}

int mlc_pool_decide(struct mlc_pool *pool, mlc_pool_reader read, const void *data, int64_t *out)
{
    int status = meet(pool, read, data);
    *out = pool->read;
    return status;
}
