/* Joins the world of ranks that an MPI launcher has started, and leaves it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mlc.h"
#include "mpi_world.h"

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

    int status = mlc_mpi_runs(world, "joining the world", error);
    if (status)
        return status;
    if (mpi->initialized(&running) == 0 && running) {
        if (mpi->query_thread(&provided) || provided >= mpi->thread_serialized)
            return 0;
        return mlc_fail(error, -ENOTSUP,
                        "MPI was started in this process by another library for fewer threads than mlc needs; have it ask "
                        "for MPI_THREAD_SERIALIZED or more (mpi4py.rc.thread_level), or call mlc.distributed.init() first");
    }
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
    status = mlc_mpi_gather(world, "the first meeting of all ranks", mine, paths, PATH, error);
    if (!status) {
        mlc_watch_share(&world->watch, paths);
        status = mlc_mpi_gather(world, "the second meeting of all ranks", mine, paths, PATH, error);
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
    world->base = (struct mlc_world){0, 1, mlc_mpi_agree, mlc_mpi_take_off, mlc_mpi_progress, mlc_mpi_wait, close_world};
    int status = join(world, folder, &text);
    if (status)
        close_world(&world->base);
    else
        *out = &world->base;
    return status;
}
