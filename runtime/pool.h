/* A pool of threads that run one function together and meet at barriers. */
#ifndef MLC_POOL_H
#define MLC_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gate.h"

enum { MLC_MAX_THREADS = 1024 };

struct mlc_pool;

/* Runs on every thread, as workers 0 (the caller) to threads - 1. */
typedef void (*mlc_team_function)(struct mlc_pool *pool, void *data, int worker);

struct mlc_worker {
    struct mlc_pool *pool;
    int index;
    uint32_t seen; /* openings of `start` before this thread existed */
    pthread_t thread;
};

/* One caller at a time. Threads start with the first team run, and again in a child after fork. */
struct mlc_pool {
    int threads, started; /* the caller included; of the others, those that run */
    int spins;            /* checks before sleeping; 0 where threads outnumber CPUs */
    pid_t owner;          /* process whose threads they are */
    bool stop;
    struct mlc_worker *workers; /* threads - 1 */
    struct mlc_gate start, meet;
    _Atomic int arrived; /* at the present barrier */
    _Atomic int status;  /* first error posted in this run */
    int agreed;          /* the status as the last to arrive saw it: the same for all */
    int64_t read;        /* what it read there, in mlc_pool_decide */
    mlc_team_function function;
    void *data;
};

/* Prepare a pool of 1 <= threads <= MLC_MAX_THREADS. -ENOMEM. Release with mlc_pool_destroy. */
int mlc_pool_create(struct mlc_pool *pool, int threads);
void mlc_pool_destroy(struct mlc_pool *pool);

/*
 * Call function(pool, data, worker) on all threads; return when all have returned: 0, the first posted status, or
 * -EAGAIN where threads could not be started (then nothing ran).
 */
int mlc_pool_run(struct mlc_pool *pool, mlc_team_function function, void *data);

/* The same on the caller's thread alone, as worker 0; function must not meet. Returns 0 or the posted status. */
int mlc_pool_run_alone(struct mlc_pool *pool, mlc_team_function function, void *data);

/* Inside a team function: post an error, which all threads read at the next barrier. The first one stays. */
void mlc_pool_post(struct mlc_pool *pool, int status);

/*
 * Inside a team function: wait until all threads are here. Returns the status posted before, the same on all threads.
 * All of them call it equally often.
 */
int mlc_pool_meet(struct mlc_pool *pool);

/* The same, and *out becomes read(data) as called once, by the last to arrive: the same on all threads. */
typedef int64_t (*mlc_pool_reader)(const void *data);
int mlc_pool_decide(struct mlc_pool *pool, mlc_pool_reader read, const void *data, int64_t *out);

#endif
