/* Guards a blocking call with a thread that gives up for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "watch.h"

struct mlc_guard {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended; /* under lock */
    struct mlc_watch *watch;
    const char *label;
};

static void *stand_guard(void *data)
{
    struct mlc_guard *guard = data;
    struct timespec until;
    int status = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += guard->watch->timeout / 1000000000;
    until.tv_nsec += guard->watch->timeout % 1000000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&guard->lock);
    while (!guard->ended && status != ETIMEDOUT)
        status = pthread_cond_timedwait(&guard->changed, &guard->lock, &until);
    bool late = !guard->ended;
    pthread_mutex_unlock(&guard->lock);
    if (late)
        mlc_watch_give_up(guard->watch, guard->label);
    return NULL;
}

struct mlc_guard *mlc_guard_begin(struct mlc_watch *watch, const char *label)
{
    struct mlc_guard *guard = calloc(1, sizeof *guard);

    if (!guard)
        return NULL;
    guard->watch = watch;
    guard->label = label;
    pthread_mutex_init(&guard->lock, NULL);
    pthread_cond_init(&guard->changed, NULL);
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
