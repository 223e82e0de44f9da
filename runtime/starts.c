/* Publishes which collectives this rank starts, and compares them with what the other ranks of the group started. */
#include "starts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"

_Static_assert(sizeof(struct mlc_started) == sizeof((struct mlc_start_entry){0}.started), "an entry holds a start");

static struct mlc_start_entry *entry_of(const struct mlc_watch *watch, int rank, const struct mlc_started *started)
{
    struct mlc_start_entry *rings = (struct mlc_start_entry *)(watch->pages + watch->size);
    return &rings[(size_t)rank * MLC_STARTS + (started->group + started->number) % MLC_STARTS];
}

struct mlc_started mlc_started(const struct mlc_collective *what, uint64_t group, uint64_t number)
{
    const bool reduces = what->kind == MLC_ALL_REDUCE || what->kind == MLC_REDUCE_SCATTER;

    return (struct mlc_started){
        .group = group,
        .number = number,
        .schedule = what->schedule,
        .count = what->count,
        .kind = what->kind,
        .dtype = what->dtype,
        .reduction = reduces ? what->reduction : 0,
        .root = what->kind == MLC_BROADCAST ? what->root : 0,
    };
}

static void write_label(char *text, size_t size, const char *label, const char *inputs)
{
    bool called = inputs && *inputs;
    snprintf(text, size, "%.*s%s%s", (int)size - 1 - (called ? (int)strlen(inputs) + 14 : 0), label,
             called ? " called with " : "", called ? inputs : "");
}

/* Words are stored behind what was stored before, and loaded before what is loaded behind them, as a lock would have it. */
static void store_words(_Atomic uint64_t *words, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)from + 8 * i, 8);
        atomic_store_explicit(&words[i], word, memory_order_release);
    }
}

static void load_words(void *to, const _Atomic uint64_t *words, size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);
        memcpy((char *)to + 8 * i, &word, 8);
    }
}

void mlc_starts_publish(struct mlc_watch *watch, const struct mlc_started *started, const char *label,
                        const char *inputs)
{
    if (!watch->mapped)
        return;
    struct mlc_start_entry *entry = entry_of(watch, watch->rank, started);
    uint64_t version = atomic_load_explicit(&entry->version, memory_order_relaxed);
    char text[MLC_START_LABEL] = "";

    write_label(text, sizeof text, label, inputs);
    atomic_store_explicit(&entry->version, version + 1, memory_order_relaxed);
    store_words(entry->started, started, sizeof *started);
    store_words(entry->label, text, sizeof text);
    atomic_exchange(&entry->version, version + 2); /* of two ranks that publish at once, one sees the other's */
}

/* What rank has published under the number of `mine`, with its label; false where there is none, or not any more. */
static bool read_entry(const struct mlc_watch *watch, int rank, const struct mlc_started *mine,
                       struct mlc_started *theirs, char *label)
{
    struct mlc_start_entry *entry = entry_of(watch, rank, mine);
    uint64_t version = atomic_load(&entry->version);

    if (!version || version % 2)
        return false;
    load_words(theirs, entry->started, sizeof *theirs);
    bool same = memcmp(theirs, mine, sizeof *mine) == 0;
    if (!same)
        load_words(label, entry->label, sizeof entry->label);
    return atomic_load_explicit(&entry->version, memory_order_relaxed) == version && theirs->group == mine->group &&
           theirs->number == mine->number;
}

static void describe(char *text, size_t size, const struct mlc_started *started, const char *label)
{
    static const char *const kinds[] = {"all_reduce", "all_gather", "reduce_scatter", "collective_broadcast"};
    static const char *const reductions[] = {"add", "multiply", "maximum", "minimum", "and", "or", "xor"};
    char how[64] = "";

    if (started->kind == MLC_AGREEMENT) {
        snprintf(text, size, "%s", label);
        return;
    }
    if (started->kind == MLC_ALL_REDUCE || started->kind == MLC_REDUCE_SCATTER)
        snprintf(how, sizeof how, " by %s", reductions[started->reduction]);
    else if (started->kind == MLC_BROADCAST)
        snprintf(how, sizeof how, " from member %u", started->root);
    snprintf(text, size, "%s of %lld %s%s, schedule %016llx: %s", kinds[started->kind], (long long)started->count,
             mlc_dtype_name(started->dtype), how, (unsigned long long)started->schedule, label);
}

int mlc_starts_check(struct mlc_watch *watch, const struct mlc_started *mine, const char *label, const char *inputs,
                     const uint32_t *members, int n, const struct mlc_error *error)
{
    struct mlc_started theirs;
    char own_label[MLC_START_LABEL], other_label[MLC_START_LABEL], texts[2][512];

    for (int i = 0; i < n && watch->mapped; i++) {
        int rank = members ? (int)members[i] : i;
        if (rank == watch->rank || !read_entry(watch, rank, mine, &theirs, other_label) ||
            memcmp(&theirs, mine, sizeof theirs) == 0)
            continue;
        write_label(own_label, sizeof own_label, label, inputs);
        describe(texts[0], sizeof texts[0], mine, own_label);
        describe(texts[1], sizeof texts[1], &theirs, other_label);
        return mlc_fail(error, -EPROTO,
                        "rank %d of %d: the ranks have started different collectives, where all start the same ones in the "
                        "same order:\n  rank %d: %s\n  rank %d: %s",
                        watch->rank, watch->size, watch->rank, texts[0], rank, texts[1]);
    }
    return 0;
}
