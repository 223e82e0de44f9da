/* The groups of ranks that collectives are among: communicators of MPI, and of NCCL where the buffers are on GPUs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mpi_world.h"

/* Whether the ranks are 0, 1, 2, ... in one group: the world itself. */
static bool is_world(const struct mlc_mpi_world *world, const struct mlc_collective *what)
{
    bool same = what->group_size == (uint32_t)world->base.size;

    for (uint32_t i = 0; same && i < what->n_ranks; i++)
        same = what->ranks[i] == i;
    return same;
}

/* Make the communicator of this rank's group; every rank of the world does so at the same collective. */
static int split(struct mlc_mpi_world *world, const struct mlc_collective *what, struct mlc_mpi_groups **out,
                 const struct mlc_error *error)
{
    size_t bytes = what->n_ranks * sizeof *what->ranks;
    struct mlc_mpi_groups *made = calloc(1, sizeof *made + bytes);
    uint32_t i = 0;

    if (!made)
        return mlc_fail(error, -ENOMEM, "out of memory");
    while (i + 1 < what->n_ranks && what->ranks[i] != (uint32_t)world->base.rank)
        i++;
    made->own.place = (int)(i % what->group_size);
    made->own.size = (int)what->group_size;
    made->group_size = what->group_size;
    made->n_ranks = what->n_ranks;
    memcpy(made->ranks, what->ranks, bytes);
    made->own.members = made->ranks + i / what->group_size * what->group_size;
    made->own.name = what->group_size;
    for (uint32_t k = 0; k < what->n_ranks; k++)
        made->own.name = (made->own.name ^ what->ranks[k]) * UINT64_C(0x100000001b3);
    struct mlc_guard *guard = mlc_guard_begin(&world->watch, what->label);
    int code = world->mpi.comm_split(world->all.comm, (int)(i / what->group_size), made->own.place, &made->own.comm);
    mlc_guard_end(guard);
    if (code) {
        free(made);
        return mlc_mpi_fail(world, code, what->label, error);
    }
    world->mpi.comm_set_errhandler(made->own.comm, world->mpi.errors_return);
    made->next = world->groups;
    world->groups = *out = made;
    return 0;
}

int mlc_mpi_find_group(struct mlc_mpi_world *world, const struct mlc_collective *what, struct mlc_mpi_group **out,
                       const struct mlc_error *error)
{
    struct mlc_mpi_groups *g = world->groups;
    int status = 0;

    *out = &world->all;
    if (is_world(world, what))
        return 0;
    while (g && (g->group_size != what->group_size || g->n_ranks != what->n_ranks ||
                 memcmp(g->ranks, what->ranks, what->n_ranks * sizeof *what->ranks)))
        g = g->next;
    if (!g)
        status = split(world, what, &g, error);
    if (!status)
        *out = &g->own;
    return status;
}

/* What member 0 of a group tells the others: its id, or why it has none. */
struct invitation {
    struct mlc_nccl_id id;
    int32_t status;
    char text[252];
};

static int exchange_id(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const char *label,
                       struct invitation *invitation, const struct mlc_error *error)
{
    const struct mlc_error text = {invitation->text, sizeof invitation->text};
    mlc_mpi_handle request = NULL, bytes = world->mpi.datatypes[MLC_U8];

    if (group->place == 0)
        invitation->status = mlc_nccl_make_id(&world->nccl, &invitation->id, &text);
    int code = world->mpi.ibcast(invitation, sizeof *invitation, bytes, 0, group->comm, &request);
    const struct mlc_mpi_slot flight = {.request = request, .label = label};
    int status = code ? mlc_mpi_fail(world, code, label, error) : mlc_mpi_complete(world, flight, error);
    if (!status && invitation->status)
        status = mlc_fail(error, invitation->status, "rank %d of %d: %s: %.*s", world->base.rank, world->base.size, label,
                          (int)sizeof invitation->text, invitation->text);
    return status;
}

/* Open NCCL; fails on all members of a group where it does on one. */
static int load(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const char *label,
                const struct mlc_error *error)
{
    int32_t mine = world->nccl.library ? 0 : mlc_nccl_load(&world->nccl, *world->folder ? world->folder : NULL, error);
    int32_t worst = mine;
    mlc_mpi_handle request = NULL;
    int code = world->mpi.iallreduce(&mine, &worst, 1, world->mpi.datatypes[MLC_I32], world->mpi.ops[MLC_MINIMUM], group->comm,
                                     &request);
    if (code)
        return mlc_mpi_fail(world, code, label, error);
    int status = mlc_mpi_complete(world, (struct mlc_mpi_slot){.request = request, .label = label}, error);
    if (status || mine)
        return status ? status : mine;
    return worst ? mlc_fail(error, worst, "rank %d of %d: %s: another rank cannot use NCCL", world->base.rank,
                            world->base.size, label)
                 : 0;
}

/* Bring this rank's device into the group's communicator of NCCL; every member does so at the same collective. */
static int join(struct mlc_mpi_world *world, struct mlc_mpi_group *group, const struct mlc_collective *what,
                const struct mlc_error *error)
{
    struct invitation invitation = {0};
    char text[320] = "";
    const struct mlc_error inner = {text, sizeof text};
    int status = load(world, group, what->label, error);

    if (!status)
        status = exchange_id(world, group, what->label, &invitation, error);
    if (status)
        return status;
    struct mlc_guard *guard = mlc_guard_begin(&world->watch, what->label);
    status = mlc_nccl_join(&world->nccl, what->device, &invitation.id, group->place, group->size, &group->nccl, &inner);
    mlc_guard_end(guard);
    group->device = what->device;
    world->failed |= status != 0;
    return status ? mlc_fail(error, status, "rank %d of %d: %s: %s", world->base.rank, world->base.size, what->label, text)
                  : 0;
}

int mlc_mpi_start_on_device(struct mlc_mpi_world *world, struct mlc_mpi_group *group, uint32_t slot,
                            const struct mlc_collective *what, struct mlc_nccl_comm **nccl,
                            const struct mlc_error *error)
{
    int status = 0;

    if (!mlc_nccl_can(what))
        return mlc_fail(error, -ENOTSUP,
                        "rank %d: %s: NCCL does not do this reduction of this element type as mlc means it; do it on the "
                        "host",
                        world->base.rank, what->label);
    if (!group->nccl)
        status = join(world, group, what, error);
    else if (group->device != what->device)
        status = mlc_fail(error, -ENOTSUP, "rank %d: %s: a rank has collectives with one GPU, which is %s here, not %s",
                          world->base.rank, what->label, group->device->name, what->device->name);
    if (!status)
        status = mlc_nccl_start(group->nccl, slot, what, error);
    *nccl = group->nccl;
    return status;
}

void mlc_mpi_leave_devices(struct mlc_mpi_world *world)
{
    mlc_nccl_leave(world->all.nccl, world->failed);
    world->all.nccl = NULL;
    for (struct mlc_mpi_groups *g = world->groups; g; g = g->next) {
        mlc_nccl_leave(g->own.nccl, world->failed);
        g->own.nccl = NULL;
    }
}

void mlc_mpi_free_groups(struct mlc_mpi_world *world)
{
    for (struct mlc_mpi_groups *g = world->groups, *next; g; g = next) {
        next = g->next;
        world->mpi.comm_free(&g->own.comm);
        free(g);
    }
    world->groups = NULL;
    for (int d = 0; d < MLC_N_DTYPES; d++)
        for (int r = 0; r < MLC_N_REDUCTIONS; r++)
            if (world->own_ops[d][r])
                world->mpi.op_free(&world->own_ops[d][r]);
}
