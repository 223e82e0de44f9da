/*
 * The watch over a world: each rank publishes, outside of MPI, which collective it entered last, so that a wait that
 * takes too long names the rank that everybody waits for.
 *
 * All pages lie in one file, mapped by every rank. The launcher names its folder in MLC_RUN_FOLDER (a fresh one for each
 * attempt, on a file system that all hosts see) and removes it; the rank that reports a wait that took too long writes
 * its message to `failure` there. Without that folder the file has no name any more once all ranks have mapped it.
 */
#ifndef MLC_WATCH_H
#define MLC_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { MLC_RANK_PAGE = 512, MLC_EXIT_TIMEOUT = 75 }; /* EX_TEMPFAIL: try again */

#define MLC_RANK_MAGIC UINT64_C(0x316b6e6172636c6d) /* "mlcrank1" */

/* What a rank publishes: page `rank` of the file `ranks`. Written by that rank alone, little-endian, read at any time. */
struct mlc_rank_page {
    _Atomic uint64_t magic; /* MLC_RANK_MAGIC once the rank has joined */
    int32_t rank, size;
    int64_t pid;
    uint64_t pid_namespace; /* pids compare within one namespace and host alone */
    _Atomic uint64_t entered, finished; /* how many collectives: the one waited for is number `entered` */
    _Atomic uint64_t beat;              /* moves while the rank waits */
    _Atomic uint64_t giving_up;         /* 1 where the rank is past its deadline itself */
    _Atomic uint64_t reporter;          /* of page 0, for all: 1 + the rank that reports, the first to give up */
    char host[64];
    char label[MLC_RANK_PAGE - 136]; /* of collective number `entered`: op, scope and user line */
};

/*
 * One start of a collective, of the MLC_STARTS entries of a rank, which follow all pages in the file: see starts.h. Each is
 * written by its rank alone, while `version` is odd.
 */
enum { MLC_STARTS = 64, MLC_START_LABEL = 256 - 56 };

struct mlc_start_entry {
    _Atomic uint64_t version; /* odd while the entry is written */
    _Atomic uint64_t started[6]; /* struct mlc_started */
    _Atomic uint64_t label[MLC_START_LABEL / 8]; /* text */
};

/* Bytes of the file for one rank. */
enum { MLC_RANK_BYTES = MLC_RANK_PAGE + MLC_STARTS * (int)sizeof(struct mlc_start_entry) };

struct mlc_watch {
    int rank, size;
    int64_t timeout; /* nanoseconds a wait may take */
    int64_t next_look, missing; /* of mlc_watch_check: when it looks at the others, since when one is stopped or gone */
    uint64_t joined; /* how many collectives it took to join, from where users count; until then UINT64_MAX */
    char folder[256]; /* of the launcher, or "" */
    struct mlc_rank_page *pages; /* of all ranks; where mapped, their starts behind */
    bool mapped; /* else the pages are this process's own memory, and of other ranks nothing is known */
};

/*
 * Read MLC_COLLECTIVE_TIMEOUT (seconds, 600 where unset) and, where MLC_RUN_FOLDER is set, publish this rank's page.
 * -EINVAL for a timeout that is no positive number, -errno where the folder cannot be used. Close also after a failure.
 */
int mlc_watch_open(struct mlc_watch *watch, int rank, int size, const struct mlc_error *error);

/* Whether the pages are shared with other ranks: else share them with these two, around a broadcast of `path`. */
bool mlc_watch_is_shared(const struct mlc_watch *watch);

/* On rank 0: make a file for the pages and its `path`. "" where none can be made. */
void mlc_watch_make(struct mlc_watch *watch, char *path, size_t size);

/* On every rank: map the file `path` and publish this rank's page there; without it the rank stays by itself. */
void mlc_watch_share(struct mlc_watch *watch, const char *path);

/* The number of ranks on this host, this one among them; all of the world where the others are unknown. */
int mlc_watch_neighbours(const struct mlc_watch *watch);

void mlc_watch_close(struct mlc_watch *watch);

/* This rank enters its next collective; `label` is copied. */
void mlc_watch_enter(struct mlc_watch *watch, const char *label);

/* How many collectives this rank has entered. */
uint64_t mlc_watch_entered(const struct mlc_watch *watch);

/* The collectives of this rank are done but for `in_flight`. */
void mlc_watch_finish(struct mlc_watch *watch, unsigned in_flight);

/* This rank is alive and waits. */
void mlc_watch_beat(struct mlc_watch *watch);

/*
 * Wait for all ranks to come to this rank's last collective, whose label is the same everywhere. False where one is in
 * another collective: it will not come. A rank of this host that runs may take its time; the timeout holds for others, and
 * from when one is stopped.
 * Where nothing is known of the others, true at once.
 */
bool mlc_watch_meet(struct mlc_watch *watch);

/* One line or more: whom this rank waits for, and what that rank is doing. Takes half a second. */
void mlc_watch_culprit(struct mlc_watch *watch, char *text, size_t size);

/*
 * A look at a wait for `label` that began at `since` (mlc_clock_now): past the timeout it ends this process with
 * MLC_EXIT_TIMEOUT, without MPI's leave. Where a rank of this host is stopped or has ended, and not for an instant only (a
 * profiler's), it does so from mlc_watch_early on, so that the whole job is over by the timeout. The first rank that gives
 * up prints the culprit; the others give it the time to, since the launcher ends all ranks with the first one. MPI's shared
 * memory goes. One thread checks at a time.
 */
void mlc_watch_check(struct mlc_watch *watch, const char *label, int64_t since);

/* How long a wait for a rank that is stopped or has ended may take, in nanoseconds; mlc/launch/ranks.py says the same. */
int64_t mlc_watch_early(const struct mlc_watch *watch);

/* Remove the names of the shared memory that MPI has mapped here: a world that fails leaves it behind. */
void mlc_watch_remove_shared_memory(void);

/*
 * A guard over a blocking call: where mlc_guard_end does not come within the timeout of `watch`, a thread gives up.
 * `label` must stay. Without threads the call is not guarded.
 */
struct mlc_guard;
struct mlc_guard *mlc_guard_begin(struct mlc_watch *watch, const char *label);
void mlc_guard_end(struct mlc_guard *guard);

#endif
