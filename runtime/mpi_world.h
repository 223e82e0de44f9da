/* A world of ranks over an MPI library. */
#ifndef MLC_MPI_WORLD_H
#define MLC_MPI_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "collective.h"
#include "mpi_library.h"
#include "watch.h"

enum mlc_flight { MLC_FREE, MLC_FLYING, MLC_LANDED };

/* One collective between its start and its wait. */
struct mlc_mpi_slot {
    enum mlc_flight state;
    mlc_mpi_handle request;
    const char *label;
};

/* One division of the world into groups, and the communicator of this rank's. */
struct mlc_mpi_groups {
    struct mlc_mpi_groups *next;
    mlc_mpi_handle comm;
    uint32_t place; /* of this rank in its group */
    uint32_t group_size, n_ranks;
    uint32_t ranks[];
};

struct mlc_mpi_world {
    struct mlc_world base;
    struct mlc_mpi mpi;
    struct mlc_watch watch;
    mlc_mpi_handle comm, control; /* ours alone: of the collectives, and of agreements */
    struct mlc_mpi_groups *groups;
    mlc_mpi_handle own_ops[MLC_N_DTYPES][MLC_N_REDUCTIONS]; /* made on first use, else NULL */
    struct mlc_mpi_slot slots[MLC_COLLECTIVE_SLOTS];
    uint32_t flying[MLC_COLLECTIVE_SLOTS]; /* slots in flight, the first started first */
    uint32_t n_flying;
    bool crowded;     /* more ranks than CPUs on this host, as far as this rank knows */
    bool started_mpi; /* by this world: then it is ended by it, too */
    bool failed;      /* an error was returned: the other ranks may never come to MPI_Finalize */
};

/* Fill in the request of a collective that this library and world can do; it is in flight then. */
int mlc_mpi_start(struct mlc_mpi_world *world, const struct mlc_collective *what, mlc_mpi_handle *request,
                  const struct mlc_error *error);

/* Fail with what MPI says of `code`, and with the rank that has ended, if one has. -EIO. */
int mlc_mpi_fail(struct mlc_mpi_world *world, int code, const char *label, const struct mlc_error *error);

/* Free communicators and operations of mlc_mpi_start; MPI must run. */
void mlc_mpi_free_groups(struct mlc_mpi_world *world);

#endif
