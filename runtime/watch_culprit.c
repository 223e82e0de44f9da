/* Finds out which rank the others wait for, from what each has published, and ends a wait that took too long. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "watch.h"

enum {
    MOST_NAMED = 8, /* ranks in one message */
    LOOK_NANOSECONDS = 20000000, /* from one look at the others to the next, once it may be time to give up */
    INSTANT = 200000000, /* nanoseconds that a rank may be stopped for, whatever the time */
};

#define MOST_EARLY INT64_C(3000000000) /* nanoseconds: to find the culprit, and for the launcher to end all ranks */

/* Text that grows to the end of its buffer. */
struct text {
    char *start;
    size_t used, size;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
    va_list arguments;

    if (text->used + 1 >= text->size)
        return;
    va_start(arguments, format);
    int length = vsnprintf(text->start + text->used, text->size - text->used, format, arguments);
    va_end(arguments);
    if (length > 0)
        text->used += (size_t)length;
    if (text->used >= text->size)
        text->used = text->size - 1;
}

static void sleep_milliseconds(long n)
{
    struct timespec time = {n / 1000, n % 1000 * 1000000};
    while (nanosleep(&time, &time) && errno == EINTR) {
    }
}

static bool has_joined(const struct mlc_rank_page *page)
{
    return atomic_load_explicit(&page->magic, memory_order_acquire) == MLC_RANK_MAGIC;
}

/* The state letter of a process from /proc (R, S, T, Z, ...), 'X' where there is none, '?' where this cannot be known. */
static char process_state(const struct mlc_rank_page *mine, const struct mlc_rank_page *page)
{
    char path[64], line[512];
    ssize_t length;

    if (strncmp(mine->host, page->host, sizeof page->host) || mine->pid_namespace != page->pid_namespace)
        return '?';
    if (kill((pid_t)page->pid, 0) && errno == ESRCH)
        return 'X';
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)page->pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return '?';
    length = read(file, line, sizeof line - 1);
    close(file);
    line[length > 0 ? length : 0] = 0;
    const char *end = strrchr(line, ')'); /* of the program's name, which may hold anything */
    return end && end[1] == ' ' ? end[2] : '?';
}

static const char *state_words(char state)
{
    switch (state) {
    case 'T':
    case 't':
        return "is stopped (SIGSTOP or a debugger)";
    case 'X':
    case 'Z':
        return "has ended";
    case 'D':
        return "waits for a disk or a device";
    case '?':
        return "cannot be seen from here";
    default:
        return "is running";
    }
}

/* What the others are doing, taken twice: whose beat stands still is not waiting. */
struct sample {
    uint64_t entered, beat;
};

/* Whether a rank of this host is stopped or has ended: whoever waits for all may wait in vain. */
static bool is_missing(const struct mlc_watch *watch, int rank)
{
    const struct mlc_rank_page *mine = &watch->pages[watch->rank], *page = &watch->pages[rank];
    return rank != watch->rank && has_joined(page) && strchr("TtXZ", process_state(mine, page));
}

/* Whether a rank is in another collective of the same number: it runs another program. */
static bool is_elsewhere(const struct mlc_rank_page *mine, const struct mlc_rank_page *page)
{
    return atomic_load(&page->entered) == atomic_load(&mine->entered) &&
           strncmp(page->label, mine->label, sizeof page->label) != 0;
}

static bool is_still(const struct mlc_rank_page *page, const struct sample *before)
{
    return atomic_load(&page->beat) == before->beat && !atomic_load(&page->giving_up);
}

/* "collective 7", as users count; what ranks do to join has no number. */
static void add_number(struct text *text, const struct mlc_watch *watch, uint64_t entered)
{
    if (entered > watch->joined)
        add(text, "collective %llu, ", (unsigned long long)(entered - watch->joined));
}

/* What rank does instead of what this rank waits for. */
static void describe(struct text *text, const struct mlc_watch *watch, int rank)
{
    const struct mlc_rank_page *mine = &watch->pages[watch->rank], *page = &watch->pages[rank];
    uint64_t entered = atomic_load(&page->entered), ours = atomic_load(&mine->entered);

    if (!has_joined(page)) {
        add(text, "\n  rank %d has not joined", rank);
        return;
    }
    add(text, "\n  rank %d (process %lld on %.63s) %s", rank, (long long)page->pid, page->host,
        state_words(process_state(mine, page)));
    if (entered < ours) {
        add(text, " and has not entered it; its last, %s, was ",
            atomic_load(&page->finished) == entered ? "done" : "not done");
        add_number(text, watch, entered);
        add(text, "%.370s", page->label);
    } else if (is_elsewhere(mine, page)) {
        add(text, " and is elsewhere: in ");
        add_number(text, watch, entered);
        add(text, "%.370s", page->label);
    } else {
        add(text, " and has entered it, but does nothing for it");
    }
}

/* How much rank is to blame, 0 for not at all. Those that give up as well have ended for the same reason as this one. */
static int blame(const struct mlc_watch *watch, int rank, const struct sample *before, uint64_t lowest)
{
    const struct mlc_rank_page *mine = &watch->pages[watch->rank], *page = &watch->pages[rank];
    char state;

    if (rank == watch->rank)
        return 0;
    if (!has_joined(page))
        return 5;
    if (atomic_load(&page->giving_up) && !is_elsewhere(mine, page))
        return 0;
    state = process_state(mine, page);
    if (state == 'X' || state == 'Z')
        return 4;
    if (state == 'T' || state == 't')
        return 3;
    if (atomic_load(&page->entered) == lowest && lowest < atomic_load(&mine->entered))
        return 2;
    if (atomic_load(&page->entered) > atomic_load(&mine->entered) || lowest < atomic_load(&mine->entered))
        return 0;
    return is_elsewhere(mine, page) || is_still(page, before);
}

bool mlc_watch_meet(struct mlc_watch *watch)
{
    const struct mlc_rank_page *mine = &watch->pages[watch->rank];
    int64_t since = 0;
    int r = 0;

    while (watch->mapped && r < watch->size) {
        const struct mlc_rank_page *page = &watch->pages[r];
        if (atomic_load(&page->entered) > atomic_load(&mine->entered) || is_elsewhere(mine, page))
            return false;
        if (atomic_load(&page->entered) == atomic_load(&mine->entered)) {
            r++;
            continue;
        }
        mlc_watch_beat(watch);
        if (!strchr("TtXZ?", process_state(mine, page)))
            since = 0;
        else if (!since)
            since = mlc_clock_now();
        else
            mlc_watch_check(watch, mine->label, since);
        sleep_milliseconds(2);
    }
    return true;
}

static uint64_t lowest_entered(const struct mlc_watch *watch)
{
    uint64_t lowest = UINT64_MAX;
    for (int r = 0; r < watch->size; r++)
        if (has_joined(&watch->pages[r]) && atomic_load(&watch->pages[r].entered) < lowest)
            lowest = atomic_load(&watch->pages[r].entered);
    return lowest;
}

void mlc_watch_culprit(struct mlc_watch *watch, char *out, size_t size)
{
    struct text text = {out, 0, size};
    struct mlc_rank_page *mine = &watch->pages[watch->rank];
    struct sample before[watch->size];
    int most = 0, named = 0;

    out[0] = 0;
    if (!watch->mapped) {
        add(&text, "\n  where the others are is unknown: they have not met this one yet, or share no files with it");
        return;
    }
    atomic_store(&mine->giving_up, 1);
    msync(watch->pages, (size_t)watch->size * MLC_RANK_BYTES, MS_SYNC); /* for ranks on other hosts */
    for (int r = 0; r < watch->size; r++)
        before[r] = (struct sample){atomic_load(&watch->pages[r].entered), atomic_load(&watch->pages[r].beat)};
    sleep_milliseconds(500);
    uint64_t lowest = lowest_entered(watch);
    for (int r = 0; r < watch->size; r++) {
        int b = blame(watch, r, &before[r], lowest);
        most = b > most ? b : most;
    }
    for (int r = 0; r < watch->size && most; r++)
        if (blame(watch, r, &before[r], lowest) == most && named++ < MOST_NAMED)
            describe(&text, watch, r);
    if (named > MOST_NAMED)
        add(&text, "\n  and %d more", named - MOST_NAMED);
    if (!most)
        add(&text, "\n  all ranks are in it and wait: the connection between them is slow or broken");
}

/* Whether this rank is the first of the run to give up. */
static bool is_reporter(struct mlc_watch *watch)
{
    uint64_t nobody = 0;
    return atomic_compare_exchange_strong(&watch->pages[0].reporter, &nobody, (uint64_t)watch->rank + 1);
}

static void write_all(int file, const char *text)
{
    for (size_t left = strlen(text); left;) {
        ssize_t written = write(file, text, left);
        if (written < 0 && errno != EINTR)
            return;
        text += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
}

static void report(const struct mlc_watch *watch, const char *message)
{
    char path[sizeof watch->folder + 16];

    write_all(STDERR_FILENO, message);
    if (!watch->folder[0])
        return;
    snprintf(path, sizeof path, "%s/failure", watch->folder);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file >= 0) {
        write_all(file, message);
        close(file);
    }
}

void mlc_watch_remove_shared_memory(void)
{
    static const char *const names[] = {"/dev/shm/mpich_shm_", "/dev/shm/sm_segment.", "/dev/shm/vader_segment."};
    char line[1024];
    FILE *maps = fopen("/proc/self/maps", "re");

    while (maps && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; path && i < sizeof names / sizeof *names; i++)
            if (strncmp(path, names[i], strlen(names[i])) == 0)
                unlink(path);
    }
    if (maps)
        fclose(maps);
}

/* End this process: `label` was not done within `limit` nanoseconds. The first to give up prints the culprit. */
static _Noreturn void give_up(struct mlc_watch *watch, const char *label, int64_t limit)
{
    char culprit[4096], message[8192];
    uint64_t entered = atomic_load(&watch->pages[watch->rank].entered);
    struct text text = {message, 0, sizeof message};

    atomic_store(&watch->pages[watch->rank].giving_up, 1);
    if (is_reporter(watch)) {
        mlc_watch_culprit(watch, culprit, sizeof culprit);
        add(&text, "mlc: rank %d of %d: ", watch->rank, watch->size);
        add_number(&text, watch, entered);
        add(&text, "%.600s, was not done within %g s%s\n", label, (double)limit / 1e9, culprit);
        report(watch, message);
    } else {
        sleep_milliseconds(1500);
    }
    mlc_watch_remove_shared_memory();
    _exit(MLC_EXIT_TIMEOUT);
}

int64_t mlc_watch_early(const struct mlc_watch *watch)
{
    return watch->timeout - (watch->timeout / 4 < MOST_EARLY ? watch->timeout / 4 : MOST_EARLY);
}

/* Note whether one of the others is stopped or has ended. */
static void look_for_missing(struct mlc_watch *watch, int64_t now)
{
    bool is_one = false;

    for (int r = 0; r < watch->size && watch->mapped && !is_one; r++)
        is_one = is_missing(watch, r);
    watch->missing = !is_one ? 0 : watch->missing ? watch->missing : now;
    watch->next_look = now + LOOK_NANOSECONDS;
}

void mlc_watch_check(struct mlc_watch *watch, const char *label, int64_t since)
{
    int64_t now = mlc_clock_now(), early = mlc_watch_early(watch);

    if (now - since >= watch->timeout)
        give_up(watch, label, watch->timeout);
    if (now - since < early - INSTANT) {
        watch->missing = watch->next_look = 0;
        return;
    }
    if (now >= watch->next_look)
        look_for_missing(watch, now);
    if (watch->missing && now - since >= early && now - watch->missing >= INSTANT)
        give_up(watch, label, early);
}
