/* Joins the world of ranks that an MPI launcher has started, and waits for its collectives no longer than agreed. */
#define _GNU_SOURCE
#include "mpi_world.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mlc.h"

enum { TESTS_A_LOOK = 64, TESTS_BEFORE_YIELD = 256 };
enum { POLL_NANOSECONDS = 50000000, LONG_NANOSECONDS = 1000000000, NAP_NANOSECONDS = 100000 };

int mlc_mpi_fail(struct mlc_mpi_world *world, int code, const char *label, const struct mlc_error *error)
{
    char text[1024] = "", culprit[2048];
    int length = 0;

    if (world->mpi.error_string(code, text, &length))
        snprintf(text, sizeof text, "error %d", code);
    text[strcspn(text, "\n")] = 0;
    mlc_watch_culprit(&world->watch, culprit, sizeof culprit);
    world->failed = true;
    return mlc_fail(error, -EIO, "rank %d of %d: %s: %s says %s%s", world->base.rank, world->base.size, label,
                    world->mpi.version, text, culprit);
}

/* ---- waiting ---- */

static void land(struct mlc_mpi_world *world, uint32_t index)
{
    world->slots[world->flying[index]].state = MLC_LANDED;
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
    if (code)
        return mlc_mpi_fail(world, code, slot->label, error);
    if (done)
        land(world, index);
    return 0;
}

/* A wait's clock: looked at now and then, for the deadline and the caller's poll. */
struct clock {
    int64_t start, deadline, next_poll;
    bool is_long; /* somebody is missing: leave them the CPU */
    mlc_poll poll;
    void *data;
};

static struct clock start_clock(const struct mlc_mpi_world *world, mlc_poll poll, void *data)
{
    int64_t now = mlc_watch_now();
    return (struct clock){now, now + world->watch.timeout, now + POLL_NANOSECONDS, false, poll, data};
}

static int look(struct mlc_mpi_world *world, struct clock *clock, const char *label, const struct mlc_error *error)
{
    int64_t now = mlc_watch_now();

    mlc_watch_beat(&world->watch);
    clock->is_long = now - clock->start >= LONG_NANOSECONDS;
    if (now >= clock->deadline)
        mlc_watch_give_up(&world->watch, label);
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
            clock = start_clock(world, poll, data);
        if (tests % TESTS_A_LOOK == TESTS_A_LOOK - 1)
            status = look(world, &clock, world->slots[slot].label, error);
        if (clock.is_long || (world->crowded && tests >= TESTS_BEFORE_YIELD))
            leave_cpu(&clock);
    }
    return status;
}

static int wait_slot(struct mlc_world *base, uint32_t slot, mlc_poll poll, void *data, const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    int status = 0;

    if (slot >= MLC_COLLECTIVE_SLOTS || world->slots[slot].state == MLC_FREE)
        return mlc_fail(error, -EINVAL, "rank %d waits for slot %u, where nothing is in flight", base->rank, slot);
    if (world->slots[slot].state == MLC_FLYING)
        status = test_until_done(world, slot, poll, data, error);
    if (!status)
        world->slots[slot].state = MLC_FREE;
    return status;
}

static int progress(struct mlc_world *base, const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    int status = 0;

    for (uint32_t before = UINT32_MAX; !status && world->n_flying && world->n_flying < before;) {
        before = world->n_flying;
        status = test(world, 0, error);
    }
    return status;
}

/* ---- starting ---- */

/* Note a collective as the last in flight, in `slot`. */
static void take_off(struct mlc_mpi_world *world, uint32_t slot, struct mlc_mpi_slot flight)
{
    world->slots[slot] = flight;
    world->flying[world->n_flying++] = slot;
}

static int start(struct mlc_world *base, uint32_t slot, const struct mlc_collective *what,
                 const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    struct mlc_mpi_slot flight = {.state = MLC_FLYING, .label = what->label};
    struct mlc_mpi_group *group = NULL;

    if (slot >= MLC_COLLECTIVE_SLOTS || world->slots[slot].state != MLC_FREE)
        return mlc_fail(error, -EINVAL, "rank %d: slot %u for %s is in use", base->rank, slot, what->label);
    if (what->n_ranks != (uint32_t)base->size || !what->group_size || what->n_ranks % what->group_size)
        return mlc_fail(error, -EINVAL, "rank %d: %s is for %u ranks in groups of %u, the world has %d", base->rank,
                        what->label, what->n_ranks, what->group_size, base->size);
    mlc_watch_enter(&world->watch, what->label);
    int status = mlc_mpi_find_group(world, what, &group, error);
    if (!status && what->device)
        status = mlc_mpi_start_on_device(world, group, slot, what, &flight.nccl, error);
    else if (!status)
        status = mlc_mpi_start(world, group, what, &flight.request, error);
    if (!status)
        take_off(world, slot, flight);
    return status;
}

int mlc_mpi_complete(struct mlc_mpi_world *world, mlc_mpi_handle request, const char *label,
                     const struct mlc_error *error)
{
    uint32_t slot = 0;

    while (slot < MLC_COLLECTIVE_SLOTS && world->slots[slot].state != MLC_FREE)
        slot++;
    if (slot == MLC_COLLECTIVE_SLOTS)
        return mlc_fail(error, -EBUSY, "rank %d: %s: all slots are in use", world->base.rank, label);
    take_off(world, slot, (struct mlc_mpi_slot){.state = MLC_FLYING, .request = request, .label = label});
    return wait_slot(&world->base, slot, NULL, NULL, error);
}

/* ---- agreeing ---- */

struct opinion {
    uint64_t schedule;
    char program[120];
};

/* The first of the ranks with the opinion of rank r. */
static int first_with(const struct opinion *opinions, int r)
{
    int first = 0;
    while (opinions[first].schedule != opinions[r].schedule)
        first++;
    return first;
}

/* One line for each schedule that some rank is about to run: the first of its ranks, and how many they are. */
static int disagree(const struct mlc_mpi_world *world, const struct opinion *opinions, const struct mlc_error *error)
{
    char text[2048] = "";
    size_t used = 0;
    int size = world->base.size;

    for (int r = 0; r < size && used < sizeof text; r++) {
        int count = 0;
        for (int other = r; other < size; other++)
            count += opinions[other].schedule == opinions[r].schedule;
        if (first_with(opinions, r) == r)
            used += (size_t)snprintf(text + used, sizeof text - used, "\n  rank %d%s: %s, schedule %016llx (%d of %d)", r,
                                     count > 1 ? " and others" : "", opinions[r].program,
                                     (unsigned long long)opinions[r].schedule, count, size);
    }
    return mlc_fail(error, -EPROTO, "rank %d of %d: the ranks are about to run different programs:%s", world->base.rank,
                    size, text);
}

/* All ranks' blocks of `bytes` in order, on the communicator that collectives of programs do not use. */
static int gather(struct mlc_mpi_world *world, const char *label, const void *block, void *blocks, int bytes,
                  const struct mlc_error *error)
{
    mlc_mpi_handle request = NULL, type = world->mpi.datatypes[MLC_N_DTYPES - 1];

    mlc_watch_enter(&world->watch, label);
    int code = world->mpi.iallgather(block, bytes, type, blocks, bytes, type, world->control, &request);
    return code ? mlc_mpi_fail(world, code, label, error) : mlc_mpi_complete(world, request, label, error);
}

static int agree(struct mlc_world *base, const char *program, uint64_t schedule, const struct mlc_error *error)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;
    struct opinion *opinions = calloc((size_t)base->size, sizeof *opinions);
    struct opinion mine = {.schedule = schedule};
    char label[256];
    int status;

    if (!opinions)
        return mlc_fail(error, -ENOMEM, "out of memory");
    strncpy(mine.program, program, sizeof mine.program - 1);
    snprintf(label, sizeof label, "agreement on the collectives of %s, schedule %016llx", mine.program,
             (unsigned long long)schedule);
    status = gather(world, label, &mine, opinions, sizeof mine, error);
    for (int r = 0; r < base->size && !status; r++)
        if (opinions[r].schedule != schedule)
            status = disagree(world, opinions, error);
    if (status)
        world->failed = true;
    free(opinions);
    return status;
}

/* ---- joining and leaving ---- */

/* The first of `names` that the environment has as a number, else `otherwise`. */
static int number(const char *const *names, int otherwise)
{
    for (; *names; names++) {
        const char *text = getenv(*names);
        char *end;
        long value = text ? strtol(text, &end, 10) : -1;
        if (text && end != text && !*end && value >= 0 && value <= 1 << 24)
            return (int)value;
    }
    return otherwise;
}

static const char *const SIZES[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};
static const char *const RANKS[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", NULL};

int mlc_launched_ranks(void)
{
    int size = number(SIZES, 1);
    return size > 1 ? size : 1;
}

static int launched_rank(int size)
{
    int rank = size > 1 ? number(RANKS, 0) : 0;
    return rank < size ? rank : 0;
}

static int start_mpi(struct mlc_mpi_world *world, const struct mlc_error *error)
{
    int running = 0, provided = 0;
    struct mlc_mpi *mpi = &world->mpi;

    if (mpi->initialized(&running) == 0 && running)
        return 0;
    mlc_watch_enter(&world->watch, "the start of MPI");
    struct mlc_guard *guard = mlc_guard_begin(&world->watch, "the start of MPI");
    int code = mpi->init_thread(NULL, NULL, mpi->thread_serialized, &provided);
    mlc_guard_end(guard);
    if (code)
        return mlc_fail(error, -EIO, "%s (%s) did not start: error %d of MPI_Init_thread", mpi->version, mpi->path, code);
    world->started_mpi = true;
    if (provided < mpi->thread_serialized)
        return mlc_fail(error, -ENOTSUP,
                        "%s (%s) cannot be called from more than one thread: it was built without THREAD_SERIALIZED",
                        mpi->version, mpi->path);
    return 0;
}

static int refuse_launcher(const struct mlc_mpi_world *world, const char *launcher, const struct mlc_error *error)
{
    return mlc_fail(error, -EPROTO,
                    "the ranks were started by the launcher of %s, but %s is %s: it is not the MPI of this launcher; use "
                    "its own mpiexec, or name the launcher's library in MLC_MPI",
                    launcher, world->mpi.path, world->mpi.version);
}

/* What the environment tells of the launcher, before a library under another one's ends the process or runs alone. */
static int check_launcher(const struct mlc_mpi_world *world, const struct mlc_error *error)
{
    bool openmpi = strstr(world->mpi.version, "Open MPI") != NULL;

    if (getenv("OMPI_COMM_WORLD_SIZE") && !openmpi)
        return refuse_launcher(world, "Open MPI", error);
    if (getenv("PMI_SIZE") && !getenv("PMIX_RANK") && openmpi)
        return refuse_launcher(world, "MPICH or Intel MPI", error);
    return 0;
}

/* A library under another MPI's launcher silently becomes a world of its own in each process: refuse. */
static int check_size(struct mlc_mpi_world *world, int launched, const struct mlc_error *error)
{
    int size = 0, rank = 0;

    world->mpi.comm_size(world->mpi.comm_world, &size);
    world->mpi.comm_rank(world->mpi.comm_world, &rank);
    if (size != launched)
        return mlc_fail(error, -EPROTO,
                        "the launcher started %d ranks, but %s (%s) sees %d: it is not the MPI of this launcher; use its "
                        "own mpiexec, or name the launcher's library in MLC_MPI",
                        launched, world->mpi.version, world->mpi.path, size);
    world->base.size = world->all.size = size;
    world->base.rank = world->all.place = rank;
    if (rank != world->watch.rank)
        return mlc_fail(error, -EPROTO, "the launcher calls this rank %d, %s calls it %d", world->watch.rank,
                        world->mpi.version, rank);
    return 0;
}

/* Communicators of our own, so that nothing else in this process can get in between. */
static int make_comms(struct mlc_mpi_world *world, const struct mlc_error *error)
{
    struct mlc_mpi *mpi = &world->mpi;
    mlc_watch_enter(&world->watch, "the first communicator");
    struct mlc_guard *guard = mlc_guard_begin(&world->watch, "the first communicator");
    int code = mpi->comm_dup(mpi->comm_world, &world->all.comm);

    if (!code)
        code = mpi->comm_dup(mpi->comm_world, &world->control);
    mlc_guard_end(guard);
    if (code)
        return mlc_mpi_fail(world, code, "MPI_Comm_dup", error);
    mpi->comm_set_errhandler(world->all.comm, mpi->errors_return);
    mpi->comm_set_errhandler(world->control, mpi->errors_return);
    return 0;
}

/* Where no launcher named a folder: rank 0 makes a file, all map it, and then it goes. Two rounds. */
static int share_watch(struct mlc_mpi_world *world, const struct mlc_error *error)
{
    enum { PATH = 64 };
    char mine[PATH] = "", *paths = calloc((size_t)world->base.size, PATH);
    int status;

    if (!paths)
        return mlc_fail(error, -ENOMEM, "out of memory");
    if (world->base.rank == 0)
        mlc_watch_make(&world->watch, mine, sizeof mine);
    status = gather(world, "the first meeting of all ranks", mine, paths, PATH, error);
    if (!status) {
        mlc_watch_share(&world->watch, paths);
        status = gather(world, "the second meeting of all ranks", mine, paths, PATH, error);
    }
    if (mine[0])
        unlink(mine);
    free(paths);
    return status;
}

/*
 * End MPI together with the other ranks, unless someone else in the process has started or ended it. Where a rank waits in
 * a collective that this one, which may have failed, never comes to, this one just goes: the launcher sees to the rest.
 */
static void end_mpi(struct mlc_mpi_world *world)
{
    static const char label[] = "the end of MPI";
    int ended = 1;

    if (!world->started_mpi || world->mpi.finalized(&ended) || ended)
        return;
    if (world->all.comm) {
        mlc_watch_enter(&world->watch, label);
        if (!mlc_watch_meet(&world->watch)) {
            mlc_watch_remove_shared_memory();
            return;
        }
    }
    struct mlc_guard *guard = mlc_guard_begin(&world->watch, label);
    if (world->all.comm) {
        mlc_mpi_free_groups(world);
        world->mpi.comm_free(&world->all.comm);
        world->mpi.comm_free(&world->control);
    }
    world->mpi.finalize();
    mlc_guard_end(guard);
}

static void close_world(struct mlc_world *base)
{
    struct mlc_mpi_world *world = (struct mlc_mpi_world *)base;

    mlc_mpi_leave_devices(world);
    if (world->failed)
        mlc_watch_remove_shared_memory();
    else
        end_mpi(world);
    mlc_watch_close(&world->watch);
    free(world);
}

static int join(struct mlc_mpi_world *world, const char *folder, const struct mlc_error *error)
{
    int launched = mlc_launched_ranks();
    snprintf(world->folder, sizeof world->folder, "%s", folder ? folder : "");
    int status = mlc_watch_open(&world->watch, launched_rank(launched), launched, error);

    if (!status)
        status = mlc_mpi_load(&world->mpi, folder, error);
    if (!status)
        status = check_launcher(world, error);
    if (!status)
        status = start_mpi(world, error);
    if (!status)
        status = check_size(world, launched, error);
    if (!status)
        status = make_comms(world, error);
    if (!status && !mlc_watch_is_shared(&world->watch))
        status = share_watch(world, error);
    if (!status) {
        world->watch.joined = mlc_watch_entered(&world->watch);
        world->crowded = mlc_watch_neighbours(&world->watch) > mlc_cpu_count();
    }
    return status;
}

int mlc_mpi_open(const char *folder, struct mlc_world **out, char *error, size_t error_size)
{
    struct mlc_error text = {error, error_size};
    struct mlc_mpi_world *world = calloc(1, sizeof *world);

    *out = NULL;
    if (!world)
        return mlc_fail(&text, -ENOMEM, "out of memory");
    world->base = (struct mlc_world){0, 1, agree, start, progress, wait_slot, close_world};
    int status = join(world, folder, &text);
    if (status)
        close_world(&world->base);
    else
        *out = &world->base;
    return status;
}
