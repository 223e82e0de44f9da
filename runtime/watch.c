/* Publishes what this rank is doing in a file that all ranks map, for the others and for the launcher. */
#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct mlc_rank_page) == MLC_RANK_PAGE, "the launcher reads pages of this size");

static int read_timeout(int64_t *timeout, const struct mlc_error *error)
{
    const char *text = getenv("MLC_COLLECTIVE_TIMEOUT");
    char *end = NULL;
    double seconds = text ? strtod(text, &end) : 600;

    if (text && (end == text || *end || !(seconds > 0) || seconds > 1e9))
        return mlc_fail(error, -EINVAL, "MLC_COLLECTIVE_TIMEOUT is \"%s\": it takes a positive number of seconds", text);
    *timeout = (int64_t)(seconds * 1e9);
    return 0;
}

/* The number of this process's pid namespace, 0 where the system does not say. */
static uint64_t pid_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* Fill in this rank's page; the magic comes last, so that nobody reads half a page. It has started nothing yet. */
static void publish(struct mlc_watch *watch)
{
    struct mlc_rank_page *page = &watch->pages[watch->rank];
    struct mlc_start_entry *starts = (struct mlc_start_entry *)(watch->pages + watch->size);

    memset(page, 0, sizeof *page);
    if (watch->mapped)
        memset(starts + (size_t)watch->rank * MLC_STARTS, 0, MLC_STARTS * sizeof *starts);
    page->rank = watch->rank;
    page->size = watch->size;
    page->pid = getpid();
    page->pid_namespace = pid_namespace();
    gethostname(page->host, sizeof page->host - 1);
    atomic_store_explicit(&page->magic, MLC_RANK_MAGIC, memory_order_release);
}

/* The pages in the open file, which is made long enough, or NULL. */
static struct mlc_rank_page *map_pages(int file, int size)
{
    size_t bytes = (size_t)size * MLC_RANK_BYTES;
    struct stat status;

    if (fstat(file, &status) || ((size_t)status.st_size < bytes && ftruncate(file, (off_t)bytes)))
        return NULL;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static int open_folder(struct mlc_watch *watch, const struct mlc_error *error)
{
    char path[sizeof watch->folder + 16];
    int file, status = 0;

    snprintf(path, sizeof path, "%s/ranks", watch->folder);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0)
        watch->pages = map_pages(file, watch->size);
    if (!watch->pages)
        status = mlc_fail(error, -errno, "MLC_RUN_FOLDER: %s: %s", path, strerror(errno));
    else
        watch->mapped = true;
    if (file >= 0)
        close(file);
    return status;
}

int mlc_watch_open(struct mlc_watch *watch, int rank, int size, const struct mlc_error *error)
{
    const char *folder = getenv("MLC_RUN_FOLDER");
    int status;

    memset(watch, 0, sizeof *watch);
    watch->rank = rank;
    watch->size = size;
    watch->joined = UINT64_MAX;
    status = read_timeout(&watch->timeout, error);
    if (!status && folder && *folder) {
        if (snprintf(watch->folder, sizeof watch->folder, "%s", folder) >= (int)sizeof watch->folder)
            return mlc_fail(error, -ENAMETOOLONG, "MLC_RUN_FOLDER is longer than %zu bytes", sizeof watch->folder - 1);
        status = open_folder(watch, error);
    } else if (!status && !(watch->pages = calloc((size_t)size, MLC_RANK_PAGE))) {
        status = mlc_fail(error, -ENOMEM, "out of memory");
    }
    if (!status)
        publish(watch);
    return status;
}

bool mlc_watch_is_shared(const struct mlc_watch *watch)
{
    return watch->mapped || watch->size == 1;
}

void mlc_watch_make(struct mlc_watch *watch, char *path, size_t size)
{
    static const char *const folders[] = {"/dev/shm", "/tmp"};
    int file = -1;

    for (size_t i = 0; i < sizeof folders / sizeof *folders && file < 0; i++)
        if (snprintf(path, size, "%s/mlc-ranks-XXXXXX", folders[i]) < (int)size)
            file = mkostemp(path, O_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)watch->size * MLC_RANK_BYTES))
        path[0] = 0;
    if (file >= 0)
        close(file);
}

void mlc_watch_share(struct mlc_watch *watch, const char *path)
{
    int file = *path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct mlc_rank_page *pages = file >= 0 ? map_pages(file, watch->size) : NULL;

    if (file >= 0)
        close(file);
    if (!pages)
        return;
    free(watch->pages);
    watch->pages = pages;
    watch->mapped = true;
    publish(watch);
}

int mlc_watch_neighbours(const struct mlc_watch *watch)
{
    int count = watch->mapped ? 0 : watch->size;

    for (int r = 0; r < watch->size && watch->mapped; r++)
        count += strncmp(watch->pages[r].host, watch->pages[watch->rank].host, sizeof watch->pages[r].host) == 0;
    return count;
}

void mlc_watch_close(struct mlc_watch *watch)
{
    if (watch->mapped)
        munmap(watch->pages, (size_t)watch->size * MLC_RANK_BYTES);
    else
        free(watch->pages);
    watch->pages = NULL;
    watch->mapped = false;
}

void mlc_watch_enter(struct mlc_watch *watch, const char *label)
{
    struct mlc_rank_page *page = &watch->pages[watch->rank];
    uint64_t entered = mlc_watch_entered(watch);

    strncpy(page->label, label ? label : "", sizeof page->label - 1);
    atomic_store_explicit(&page->entered, entered + 1, memory_order_release);
}

uint64_t mlc_watch_entered(const struct mlc_watch *watch)
{
    return atomic_load_explicit(&watch->pages[watch->rank].entered, memory_order_relaxed);
}

void mlc_watch_finish(struct mlc_watch *watch, unsigned in_flight)
{
    struct mlc_rank_page *page = &watch->pages[watch->rank];
    atomic_store_explicit(&page->finished, mlc_watch_entered(watch) - in_flight, memory_order_release);
}

void mlc_watch_beat(struct mlc_watch *watch)
{
    atomic_fetch_add_explicit(&watch->pages[watch->rank].beat, 1, memory_order_relaxed);
}
