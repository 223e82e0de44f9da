/*
 * Combines two buffers element by element, as MPI calls it within its reductions. Ranks are given the two in different
 * orders, so that none of these depends on which is which, in no bit: -0.0 is below 0.0, and NaN is always the same one.
 */
#include "mpi_reduce.h"

#if defined(__x86_64__) && !defined(MLC_PORTABLE)
#include <immintrin.h>
#endif
#include <string.h>

#include "mlc.h"

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float bf16_to_f32(uint16_t x)
{
    return float_of_bits((uint32_t)x << 16);
}

static inline uint16_t f32_to_bf16(float x)
{
    uint32_t bits = bits_of_float(x);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? 0x7fc0 : rounded);
}

/* Exact: the magnitude's bits are moved to those of an f32 and scaled by 2^112, the difference of the biases. */
static inline float f16_to_f32(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, magnitude = x & 0x7fff;
    float scaled = float_of_bits(magnitude << 13) * 0x1p112f;
    uint32_t bits = magnitude >= 0x7c00 ? magnitude << 13 | 0x7f800000 : bits_of_float(scaled);
    return float_of_bits(bits | sign);
}

/* To nearest even: adding a power of two whose last bit is the result's lets the f32 addition round. No branches. */
static inline uint16_t f32_to_f16(float x)
{
    uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t normal = magnitude - 0x38000000; /* 112 << 23: the exponent in the bias of f16 */
    float small = float_of_bits(magnitude) + 0.5f; /* 0.5 has its last bit at 2^-24, the least f16 */
    uint32_t result = (normal + 0xfff + (normal >> 13 & 1)) >> 13;

    result = magnitude < 0x38800000 ? bits_of_float(small) - 0x3f000000 : result; /* below 2^-14: subnormal or zero */
    result = magnitude >= 0x477ff000 ? 0x7c00 : result; /* 65520 and more round to infinity */
    return (uint16_t)(magnitude > 0x7f800000 ? 0x7e00 : result | sign);
}

/* The larger or the smaller of two floats. Equal ones differ in the sign of zero alone. */
#define EXTREME(name, floating, bits_type, is_better, SIGN_OF_ZERO, nan)                          \
    static inline floating name(floating a, floating b)                                           \
    {                                                                                             \
        bits_type x, y, result;                                                                   \
        memcpy(&x, &a, sizeof x);                                                                 \
        memcpy(&y, &b, sizeof y);                                                                 \
        result = a is_better b ? x : y;                                                           \
        result = a == b ? x SIGN_OF_ZERO y : result;                                              \
        result = a != a ? (nan) : result;                                                         \
        result = b != b ? (nan) : result;                                                         \
        memcpy(&a, &result, sizeof a);                                                            \
        return a;                                                                                 \
    }

EXTREME(larger_f32, float, uint32_t, >, &, UINT32_C(0x7fc00000))
EXTREME(smaller_f32, float, uint32_t, <, |, UINT32_C(0x7fc00000))
EXTREME(larger_f64, double, uint64_t, >, &, UINT64_C(0x7ff8000000000000))
EXTREME(smaller_f64, double, uint64_t, <, |, UINT64_C(0x7ff8000000000000))

#define ITSELF(x) (x)
#define ADD(a, b) ((a) + (b))
#define MULTIPLY(a, b) ((a) * (b))

enum { BLOCK = 16 }; /* elements in a loop of known length, which compilers make vectors of at -O2 */

#define FUNCTION(name, element, wide, widen, narrow, OPERATION)                                   \
    static inline void name##_some(const element *restrict x, element *restrict y, int n)         \
    {                                                                                             \
        for (int i = 0; i < n; i++) {                                                             \
            wide a = widen(x[i]), b = widen(y[i]);                                                \
            y[i] = narrow(OPERATION(a, b));                                                       \
        }                                                                                         \
    }                                                                                             \
    static void name(void *in, void *inout, int *count, mlc_mpi_handle *datatype)                 \
    {                                                                                             \
        const element *x = in;                                                                    \
        element *y = inout;                                                                       \
        int n = *count;                                                                           \
        (void)datatype;                                                                           \
        for (; n >= BLOCK; n -= BLOCK, x += BLOCK, y += BLOCK)                                    \
            name##_some(x, y, BLOCK);                                                             \
        name##_some(x, y, n);                                                                     \
    }

FUNCTION(add_f16, uint16_t, float, f16_to_f32, f32_to_f16, ADD)
FUNCTION(multiply_f16, uint16_t, float, f16_to_f32, f32_to_f16, MULTIPLY)
FUNCTION(maximum_f16, uint16_t, float, f16_to_f32, f32_to_f16, larger_f32)
FUNCTION(minimum_f16, uint16_t, float, f16_to_f32, f32_to_f16, smaller_f32)
FUNCTION(add_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, ADD)
FUNCTION(multiply_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, MULTIPLY)
FUNCTION(maximum_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, larger_f32)
FUNCTION(minimum_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, smaller_f32)
FUNCTION(maximum_f32, float, float, ITSELF, ITSELF, larger_f32)
FUNCTION(minimum_f32, float, float, ITSELF, ITSELF, smaller_f32)
FUNCTION(maximum_f64, double, double, ITSELF, ITSELF, larger_f64)
FUNCTION(minimum_f64, double, double, ITSELF, ITSELF, smaller_f64)
FUNCTION(add_8, uint8_t, unsigned, ITSELF, (uint8_t), ADD) /* modulo 2^8, of either sign */
FUNCTION(add_16, uint16_t, unsigned, ITSELF, (uint16_t), ADD)

#if defined(__x86_64__) && !defined(MLC_PORTABLE)
/* The conversions of CPUs that have them, eight at a time; the same bits. */
#define HARDWARE __attribute__((target("avx,f16c")))

HARDWARE static inline __m256 add_ps(__m256 a, __m256 b)
{
    return _mm256_add_ps(a, b);
}

HARDWARE static inline __m256 multiply_ps(__m256 a, __m256 b)
{
    return _mm256_mul_ps(a, b);
}

/* The instructions give their second operand where both are equal, or one is NaN. */
HARDWARE static inline __m256 maximum_ps(__m256 a, __m256 b)
{
    return _mm256_and_ps(_mm256_max_ps(a, b), _mm256_max_ps(b, a));
}

HARDWARE static inline __m256 minimum_ps(__m256 a, __m256 b)
{
    return _mm256_or_ps(_mm256_min_ps(a, b), _mm256_min_ps(b, a));
}

/* The result, and the one NaN that there is where it or an operand is any. */
HARDWARE static inline __m256 with_nan(__m256 result, __m256 a, __m256 b)
{
    __m256 is_nan = _mm256_or_ps(_mm256_cmp_ps(a, b, _CMP_UNORD_Q), _mm256_cmp_ps(result, result, _CMP_UNORD_Q));
    __m256 nan = _mm256_and_ps(is_nan, _mm256_set1_ps(__builtin_nanf("")));
    return _mm256_or_ps(_mm256_andnot_ps(is_nan, result), nan);
}

#define HARDWARE_FUNCTION(name, operation)                                                        \
    HARDWARE static void name##_f16_hardware(void *in, void *inout, int *count, mlc_mpi_handle *datatype) \
    {                                                                                             \
        const uint16_t *x = in;                                                                   \
        uint16_t *y = inout;                                                                      \
        int n = *count;                                                                           \
        (void)datatype;                                                                           \
        for (; n >= 8; n -= 8, x += 8, y += 8) {                                                  \
            __m256 a = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));                      \
            __m256 b = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)y));                      \
            __m256 result = with_nan(operation(a, b), a, b);                                      \
            _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph(result, _MM_FROUND_TO_NEAREST_INT));   \
        }                                                                                         \
        name##_f16_some(x, y, n);                                                                 \
    }

HARDWARE_FUNCTION(add, add_ps)
HARDWARE_FUNCTION(multiply, multiply_ps)
HARDWARE_FUNCTION(maximum, maximum_ps)
HARDWARE_FUNCTION(minimum, minimum_ps)

static mlc_mpi_function in_hardware(uint32_t reduction)
{
    static const mlc_mpi_function functions[] = {add_f16_hardware, multiply_f16_hardware, maximum_f16_hardware,
                                                 minimum_f16_hardware};
    return mlc_cpu_level() >= 3 ? functions[reduction] : NULL;
}
#else
static mlc_mpi_function in_hardware(uint32_t reduction)
{
    (void)reduction;
    return NULL;
}
#endif

static const mlc_mpi_function FUNCTIONS[MLC_N_DTYPES][MLC_MINIMUM + 1] = {
    [MLC_F16] = {add_f16, multiply_f16, maximum_f16, minimum_f16},
    [MLC_BF16] = {add_bf16, multiply_bf16, maximum_bf16, minimum_bf16},
    [MLC_F32] = {NULL, NULL, maximum_f32, minimum_f32},
    [MLC_F64] = {NULL, NULL, maximum_f64, minimum_f64},
    [MLC_I8] = {add_8},   /* Open MPI's own sums of less than 32 bits */
    [MLC_I16] = {add_16}, /* stay at the largest number, where ours go round */
    [MLC_U8] = {add_8},
    [MLC_U16] = {add_16},
};

mlc_mpi_function mlc_mpi_reduce_function(uint32_t dtype, uint32_t reduction)
{
    if (dtype >= MLC_N_DTYPES || reduction > MLC_MINIMUM)
        return NULL;
    mlc_mpi_function best = dtype == MLC_F16 ? in_hardware(reduction) : NULL;
    return best ? best : FUNCTIONS[dtype][reduction];
}
