/* A world of ranks over an MPI library. */
#ifndef MLC_MPI_WORLD_H
#define MLC_MPI_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "collective.h"
#include "mpi_library.h"
#include "nccl.h"
#include "starts.h"
#include "watch.h"

enum mlc_flight { MLC_FREE, MLC_FLYING, MLC_LANDED };

/* One collective between its start and its wait: MPI's, or NCCL's where `nccl` is not NULL. */
struct mlc_mpi_slot {
    enum mlc_flight state;
    mlc_mpi_handle request;
    mlc_mpi_handle *pieces;   /* of a collective that is done in several calls: their requests, or NULL */
    uint32_t n_pieces, piece; /* how many, and which of them `request` is */
    void *packed;             /* what the pieces read, where they do not read `source`, or NULL */
    struct mlc_nccl_comm *nccl;
    const char *label;
    const char *inputs; /* as in struct mlc_collective */
    const struct mlc_mpi_group *group; /* NULL: a request of our own */
    struct mlc_started started;
};

/* The ranks that this rank has collectives with, itself among them. */
struct mlc_mpi_group {
    mlc_mpi_handle comm;
    int place, size; /* of this rank there, and how many they are */
    const uint32_t *members;    /* NULL: all ranks */
    uint64_t name, started;     /* a hash of its ranks; how many collectives it has started, agreements too */
    struct mlc_nccl_comm *nccl; /* of the same ranks' GPUs, from the first collective there; or NULL */
    struct mlc_device *device;  /* this rank's */
};

/* One division of the world into groups. */
struct mlc_mpi_groups {
    struct mlc_mpi_groups *next;
    struct mlc_mpi_group own;
    uint32_t group_size, n_ranks;
    uint32_t ranks[];
};

struct mlc_mpi_world {
    struct mlc_world base;
    struct mlc_mpi mpi;
    struct mlc_watch watch;
    struct mlc_nccl nccl;
    char folder[256];         /* where libraries are looked for first, or "" */
    struct mlc_mpi_group all; /* of the whole world; its communicator is ours alone */
    mlc_mpi_handle control;   /* another one, for agreements */
    struct mlc_mpi_groups *groups; /* others than the whole world */
    mlc_mpi_handle own_ops[MLC_N_DTYPES][MLC_N_REDUCTIONS]; /* made on first use, else NULL */
    struct mlc_mpi_slot slots[MLC_COLLECTIVE_SLOTS];
    uint32_t flying[MLC_COLLECTIVE_SLOTS]; /* slots in flight, the first started first */
    uint32_t n_flying;
    bool crowded;     /* more ranks than CPUs on this host, as far as this rank knows */
    bool started_mpi; /* by this world: then it is ended by it, too */
    bool failed;      /* an error was returned: the other ranks may never come to MPI_Finalize */
};

/* The functions of the world's table: see collective.h. */
int mlc_mpi_agree(struct mlc_world *base, const char *program, uint64_t schedule, const struct mlc_error *error);
int mlc_mpi_take_off(struct mlc_world *base, uint32_t slot, const struct mlc_collective *what,
                     const struct mlc_error *error);
int mlc_mpi_progress(struct mlc_world *base, const struct mlc_error *error);
int mlc_mpi_wait(struct mlc_world *base, uint32_t slot, mlc_poll poll, void *data, const struct mlc_error *error);

/* Start a collective of host memory: the requests of *flight are, then. Or, in `slot`, one of a device's: *nccl is. */
int mlc_mpi_start(struct mlc_mpi_world *world, const struct mlc_mpi_group *group, const struct mlc_collective *what,
                  struct mlc_mpi_slot *flight, const struct mlc_error *error);
int mlc_mpi_start_on_device(struct mlc_mpi_world *world, struct mlc_mpi_group *group, uint32_t slot,
                            const struct mlc_collective *what, struct mlc_nccl_comm **nccl,
                            const struct mlc_error *error);

/* The group that this rank is in, whose communicator is made on first use, by all ranks at the same collective. */
int mlc_mpi_find_group(struct mlc_mpi_world *world, const struct mlc_collective *what, struct mlc_mpi_group **out,
                       const struct mlc_error *error);

/* Wait for a request of our own, to the deadline; `state` is set here. */
int mlc_mpi_complete(struct mlc_mpi_world *world, struct mlc_mpi_slot flight, const struct mlc_error *error);

/* All ranks' blocks of `bytes` in order, on the communicator that collectives of programs do not use. */
int mlc_mpi_gather(struct mlc_mpi_world *world, const char *label, const void *block, void *blocks, int bytes,
                   const struct mlc_error *error);

/* Number and publish a start in `group`, and compare it with what its other ranks started: see starts.h. */
int mlc_mpi_announce(struct mlc_mpi_world *world, struct mlc_mpi_group *group, const struct mlc_collective *what,
                     struct mlc_started *started, const struct mlc_error *error);

/* -ENOTCONN where someone else in this process has ended MPI, which no call but that for the question survives. */
int mlc_mpi_runs(struct mlc_mpi_world *world, const char *label, const struct mlc_error *error);

/* Fail with what MPI says of `code`, and with the rank that has ended, if one has. -EIO. */
int mlc_mpi_fail(struct mlc_mpi_world *world, int code, const char *label, const struct mlc_error *error);

/* Free what groups have in NCCL; and their communicators and our operations, while MPI runs. */
void mlc_mpi_leave_devices(struct mlc_mpi_world *world);
void mlc_mpi_free_groups(struct mlc_mpi_world *world);

#endif
