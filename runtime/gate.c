/* Waiting: spin, then futex (elsewhere than on Linux: spin, then yield). */
#define _GNU_SOURCE
#include "gate.h"

#include <limits.h>
#include <sched.h>
#include <stddef.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    (void)word, (void)value;
    sched_yield();
}

static void wake_all(_Atomic uint32_t *word)
{
    (void)word;
}
#endif

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sequentially consistent with the sleeper's side: either it sees the new count, or we see that it sleeps. */
void mlc_gate_open(struct mlc_gate *gate)
{
    atomic_fetch_add(&gate->opened, 1);
    if (atomic_load(&gate->sleepers))
        wake_all(&gate->opened);
}

void mlc_gate_wait(struct mlc_gate *gate, uint32_t opened, int spins)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&gate->opened, memory_order_acquire) != opened)
            return;
        pause_briefly();
    }
    atomic_fetch_add(&gate->sleepers, 1);
    while (atomic_load(&gate->opened) == opened)
        sleep_while(&gate->opened, opened);
    atomic_fetch_sub(&gate->sleepers, 1);
}
