/* What this machine offers: x86-64 feature levels by cpuid and xgetbv. */
#include "mlc.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

#define BIT(n) (1u << (n))

/* Register state that the operating system saves (XCR0); only valid where cpuid reports OSXSAVE. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* The psABI's levels: https://gitlab.com/x86-psABIs/x86-64-ABI, table "Micro-Architecture Levels". */
uint32_t mlc_cpu_level(void)
{
    const uint32_t v3_c1 = BIT(0) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(27) |
                           BIT(28) | BIT(29); /* sse3 ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt osxsave avx f16c */
    const uint32_t v3_b7 = BIT(3) | BIT(5) | BIT(8);                          /* bmi1 avx2 bmi2 */
    const uint32_t v4_b7 = BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31);   /* avx512 f dq cd bw vl */
    uint32_t a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & v3_c1) != v3_c1)
        return 0;
    uint64_t state = saved_state();
    if ((state & 0x6) != 0x6)
        return 0; /* ymm registers are not saved */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & v3_b7) != v3_b7)
        return 0;
    uint32_t features = b;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & BIT(5)))
        return 0; /* lzcnt */
    return (features & v4_b7) == v4_b7 && (state & 0xe6) == 0xe6 ? 4 : 3;
}

#else

uint32_t mlc_cpu_level(void)
{
    return 0;
}

#endif
