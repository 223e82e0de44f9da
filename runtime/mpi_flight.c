/* Keeps a world's collectives in flight: starts them, moves them on, and waits for each no longer than agreed. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "mpi_world.h"

enum { TESTS_A_LOOK = 64, TESTS_BEFORE_YIELD = 256 };
enum { POLL_NANOSECONDS = 50000000, NAP_NANOSECONDS = 100000 };
enum { LONG_NANOSECONDS = 1000000000, LONG_IN_A_CROWD = 2000000 }; /* where ranks share CPUs, who works wants this one */

/* Compare a flight with what the other ranks of its group have started by now. */
static int compare(struct mlc_mpi_world *world, const struct mlc_mpi_slot *slot, const struct mlc_error *error)
{
    if (!slot->group)
        return 0;
    int status = mlc_starts_check(&world->watch, &slot->started, slot->label, slot->inputs, slot->group->members, slot->group->size,
                                  error);
    world->failed |= status != 0;
    return status;
}

int mlc_mpi_announce(struct mlc_mpi_world *world, struct mlc_mpi_group *group, const struct mlc_collective *what,
                     struct mlc_started *started, const struct mlc_error *error)
{
    *started = mlc_started(what, group->name, ++group->started);
    mlc_starts_publish(&world->watch, started, what->label, what->inputs);
    const struct mlc_mpi_slot slot = {.label = what->label, .inputs = what->inputs, .group = group, .started = *started};
    return compare(world, &slot, error);
}

int mlc_mpi_runs(struct mlc_mpi_world *world, const char *label, const struct mlc_error *error)
{
    int ended = 0;

    if (world->mpi.finalized(&ended) || !ended)
        return 0;
    world->failed = true;
    return mlc_fail(error, -ENOTCONN,
                    "rank %d of %d: %s: MPI has ended in this process, by another library's MPI_Finalize; it does not start "
                    "again, so end it after the last use of the world, or leave that to mlc.distributed.finalize()",
                    world->watch.rank, world->watch.size, label);
}

int mlc_mpi_fail(struct mlc_mpi_world *world, int code, const char *label, const struct mlc_error *error)
{
    char text[1024] = "", culprit[2048];
    int length = 0;

    world->failed = true;
    for (uint32_t i = 0; i < world->n_flying; i++) {
        int status = compare(world, &world->slots[world->flying[i]], error);
        if (status)
            return status;
    }
    if (world->mpi.error_string(code, text, &length))
        snprintf(text, sizeof text, "error %d", code);
    text[strcspn(text, "\n")] = 0;
    mlc_watch_culprit(&world->watch, culprit, sizeof culprit);
    return mlc_fail(error, -EIO, "rank %d of %d: %s: %s says %s%s", world->base.rank, world->base.size, label,
                    world->mpi.version, text, culprit);
}

static void land(struct mlc_mpi_world *world, uint32_t index)
{
    struct mlc_mpi_slot *slot = &world->slots[world->flying[index]];

    slot->state = MLC_LANDED;
    free(slot->pieces);
    free(slot->packed);
    slot->pieces = slot->packed = NULL;
    world->n_flying--;
    memmove(&world->flying[index], &world->flying[index + 1], (world->n_flying - index) * sizeof *world->flying);
    mlc_watch_finish(&world->watch, world->n_flying);
}

static int test_on_device(struct mlc_mpi_world *world, uint32_t index, const struct mlc_error *error)
{
    uint32_t slot = world->flying[index];
    char text[384] = "";
    const struct mlc_error inner = {text, sizeof text};
    bool done = false;
    int status = mlc_nccl_test(world->slots[slot].nccl, slot, &done, &inner);

    world->failed |= status != 0;
    if (done)
        land(world, index);
    return status ? mlc_fail(error, status, "rank %d of %d: %s: %s", world->base.rank, world->base.size,
                             world->slots[slot].label, text)
                  : 0;
}

/* Ask the library whether flight `index` is done; asking MPI moves on all of its others. */
static int test(struct mlc_mpi_world *world, uint32_t index, const struct mlc_error *error)
{
    struct mlc_mpi_slot *slot = &world->slots[world->flying[index]];
    int done = 0;

    if (slot->nccl)
        return test_on_device(world, index, error);
    int code = world->mpi.test(&slot->request, &done, world->mpi.status_ignore);
    while (!code && done && slot->piece + 1 < slot->n_pieces) {
        slot->request = slot->pieces[++slot->piece];
        code = world->mpi.test(&slot->request, &done, world->mpi.status_ignore);
    }
    if (code)
        return mlc_mpi_fail(world, code, slot->label, error);
    if (done)
        land(world, index);
    return 0;
}

/* A wait's clock: looked at now and then, for the watch and the caller's poll. */
struct clock {
    int64_t start, next_poll;
    bool is_long; /* somebody is missing: leave them the CPU */
    mlc_poll poll;
    void *data;
};

static struct clock start_clock(mlc_poll poll, void *data)
{
    int64_t now = mlc_clock_now();
    return (struct clock){now, now + POLL_NANOSECONDS, false, poll, data};
}

static int look(struct mlc_mpi_world *world, struct clock *clock, const char *label, const struct mlc_error *error)
{
    int64_t now = mlc_clock_now();

    mlc_watch_beat(&world->watch);
    clock->is_long = now - clock->start >= (world->crowded ? LONG_IN_A_CROWD : LONG_NANOSECONDS);
    mlc_watch_check(&world->watch, label, clock->start);
    if (clock->poll && now >= clock->next_poll) {
        clock->next_poll = now + POLL_NANOSECONDS;
        if (clock->poll(clock->data)) {
            world->failed = true;
            return mlc_fail(error, -EINTR, "rank %d: stopped while it waited for %s", world->base.rank, label);
        }
    }
    return 0;
}

static void leave_cpu(const struct clock *clock)
{
    const struct timespec nap = {0, NAP_NANOSECONDS};

    if (clock->is_long)
        nanosleep(&nap, NULL);
    else
        sched_yield();
}

/* Test flight `slot` until it is done. Where ranks share CPUs, and in long waits, others may run. */
static int test_until_done(struct mlc_mpi_world *world, uint32_t slot, mlc_poll poll, void *data,
                           const struct mlc_error *error)
{
    struct clock clock = {0};
    uint32_t index = 0;
    int status = 0;

    while (world->flying[index] != slot)
        index++;
    for (uint32_t tests = 0; !status; tests++) {
        status = test(world, index, error);
        if (status || world->slots[slot].state == MLC_LANDED)
            break;
        if (tests == 0)
            clock = start_clock(poll, data);
        if (tests % TESTS_A_LOOK == TESTS_A_LOOK - 1)
            status = compare(world, &world->slots[slot], error);
        if (!status && tests % TESTS_A_LOOK == TESTS_A_LOOK - 1)
            status = look(world, &clock, world->slots[slot].label, error);
        if (clock.is_long || (world->crowded && tests >= TESTS_BEFORE_YIELD))
            leave_cpu(&clock);
    }
    return status;
}

int mlc_mpi_wait(struct mlc_world *base, uint32_t slot, mlc_poll poll, void *data, const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    int status = 0;

    if (slot >= MLC_COLLECTIVE_SLOTS || world->slots[slot].state == MLC_FREE)
        return mlc_fail(error, -EINVAL, "rank %d waits for slot %u, where nothing is in flight", base->rank, slot);
    if (world->slots[slot].state == MLC_FLYING)
        status = test_until_done(world, slot, poll, data, error);
    if (!status)
        status = compare(world, &world->slots[slot], error);
    if (!status)
        world->slots[slot].state = MLC_FREE;
    return status;
}

int mlc_mpi_progress(struct mlc_world *base, const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    int status = 0;

    for (uint32_t before = UINT32_MAX; !status && world->n_flying && world->n_flying < before;) {
        before = world->n_flying;
        status = test(world, 0, error);
    }
    return status;
}

/* Note a collective as the last in flight, in `slot`. */
static void take_off(struct mlc_mpi_world *world, uint32_t slot, struct mlc_mpi_slot flight)
{
    world->slots[slot] = flight;
    world->flying[world->n_flying++] = slot;
}

int mlc_mpi_take_off(struct mlc_world *base, uint32_t slot, const struct mlc_collective *what,
                     const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    struct mlc_mpi_slot flight = {.state = MLC_FLYING, .label = what->label, .inputs = what->inputs};
    struct mlc_mpi_group *group = NULL;

    if (slot >= MLC_COLLECTIVE_SLOTS || world->slots[slot].state != MLC_FREE)
        return mlc_fail(error, -EINVAL, "rank %d: slot %u for %s is in use", base->rank, slot, what->label);
    if (what->n_ranks != (uint32_t)base->size || !what->group_size || what->n_ranks % what->group_size)
        return mlc_fail(error, -EINVAL, "rank %d: %s is for %u ranks in groups of %u, the world has %d", base->rank,
                        what->label, what->n_ranks, what->group_size, base->size);
    mlc_watch_enter(&world->watch, what->label);
    int status = mlc_mpi_runs(world, what->label, error);
    if (!status)
        status = mlc_mpi_find_group(world, what, &group, error);
    if (!status)
        status = mlc_mpi_announce(world, group, what, &flight.started, error);
    flight.group = group;
    if (!status && what->device)
        status = mlc_mpi_start_on_device(world, group, slot, what, &flight.nccl, error);
    else if (!status)
        status = mlc_mpi_start(world, group, what, &flight, error);
    if (!status)
        take_off(world, slot, flight);
    return status;
}

int mlc_mpi_complete(struct mlc_mpi_world *world, struct mlc_mpi_slot flight, const struct mlc_error *error)
{
    uint32_t slot = 0;

    while (slot < MLC_COLLECTIVE_SLOTS && world->slots[slot].state != MLC_FREE)
        slot++;
    if (slot == MLC_COLLECTIVE_SLOTS)
        return mlc_fail(error, -EBUSY, "rank %d: %s: all slots are in use", world->base.rank, flight.label);
    flight.state = MLC_FLYING;
    take_off(world, slot, flight);
    return mlc_mpi_wait(&world->base, slot, NULL, NULL, error);
}
