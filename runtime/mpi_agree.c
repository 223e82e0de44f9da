/* Makes sure that all ranks are about to run the same program: their hashes of its collectives are compared. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi_world.h"

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

int mlc_mpi_gather(struct mlc_mpi_world *world, const char *label, const void *block, void *blocks, int bytes,
                   const struct mlc_error *error)
{
    mlc_mpi_handle type = world->mpi.datatypes[MLC_U8];

    const struct mlc_collective what = {.kind = MLC_AGREEMENT, .label = label, .count = bytes};
    struct mlc_mpi_slot flight = {.label = label, .group = &world->all};

    mlc_watch_enter(&world->watch, label);
    int status = mlc_mpi_runs(world, label, error);
    if (!status)
        status = mlc_mpi_announce(world, &world->all, &what, &flight.started, error);
    if (status)
        return status;
    int code = world->mpi.iallgather(block, bytes, type, blocks, bytes, type, world->control, &flight.request);
    return code ? mlc_mpi_fail(world, code, label, error) : mlc_mpi_complete(world, flight, error);
}

int mlc_mpi_agree(struct mlc_world *base, const char *program, uint64_t schedule, const struct mlc_error *error)
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
    status = mlc_mpi_gather(world, label, &mine, opinions, sizeof mine, error);
    for (int r = 0; r < base->size && !status; r++)
        if (opinions[r].schedule != schedule)
            status = disagree(world, opinions, error);
    if (status)
        world->failed = true;
    free(opinions);
    return status;
}
