/* Guards a blocking call with a thread that gives up for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "watch.h"

enum { LOOK_NANOSECONDS = 50000000 }; /* from one to the next, once it may be time to give up */

struct mlc_guard {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended; /* under lock */
    struct mlc_watch *watch;
    const char *label;
};

static struct timespec as_timespec(int64_t nanoseconds)
{
    return (struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000};
}

static void *stand_guard(void *data)
{
    struct mlc_guard *guard = data;
    int64_t since = mlc_clock_now(), next = since + mlc_watch_early(guard->watch);

    pthread_mutex_lock(&guard->lock);
    while (!guard->ended) {
        struct timespec until = as_timespec(next);
        if (pthread_cond_timedwait(&guard->changed, &guard->lock, &until) != ETIMEDOUT)
            continue;
        mlc_watch_check(guard->watch, guard->label, since);
        next += LOOK_NANOSECONDS;
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

struct mlc_guard *mlc_guard_begin(struct mlc_watch *watch, const char *label)
{
    struct mlc_guard *guard = calloc(1, sizeof *guard);
    pthread_condattr_t attributes;

    if (!guard)
        return NULL;
    guard->watch = watch;
    guard->label = label;
    pthread_mutex_init(&guard->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&guard->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&guard->thread, NULL, stand_guard, guard)) {
        free(guard);
        return NULL;
    }
    return guard;
}

void mlc_guard_end(struct mlc_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->ended = true;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->changed);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
}
