/* Combines two buffers of f16, bf16, f32 or f64 element by element, as MPI calls it within its reductions. */
#include "mpi_reduce.h"

#include <stddef.h>
#include <string.h>

enum { F16, BF16, F32, F64 }; /* positions in mlc.ir.types.DTYPES */

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
    return (uint16_t)(x != x ? (bits >> 16 | 0x40) : rounded); /* NaN stays one, and quiet */
}

/* Exact: the magnitude's bits are moved to those of an f32 and scaled by 2^112, the difference of the biases. */
static inline float f16_to_f32(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, magnitude = x & 0x7fff;
    float scaled = float_of_bits(magnitude << 13) * 0x1p112f;
    uint32_t bits = magnitude >= 0x7c00 ? magnitude << 13 | 0x7f800000 : bits_of_float(scaled);
    return float_of_bits(bits | sign);
}

/* To nearest even: adding a power of two whose last bit is the result's lets the f32 addition round. */
static inline uint16_t f32_to_f16(float x)
{
    uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t normal = magnitude - 0x38000000; /* 112 << 23: the exponent in the bias of f16 */
    float small = float_of_bits(magnitude) + 0.5f; /* 0.5 has its last bit at 2^-24, the least f16 */
    uint32_t result;

    if (magnitude > 0x7f800000)
        result = 0x7e00 | (magnitude >> 13 & 0x3ff);
    else if (magnitude >= 0x477ff000) /* 65520 and more round to infinity */
        result = 0x7c00;
    else if (magnitude < 0x38800000) /* below 2^-14: subnormal or zero */
        result = bits_of_float(small) - 0x3f000000;
    else
        result = (normal + 0xfff + (normal >> 13 & 1)) >> 13;
    return (uint16_t)(result | sign);
}

static inline float same_f32(float x)
{
    return x;
}

static inline double same_f64(double x)
{
    return x;
}

#define ADD(a, b) ((a) + (b))
#define MULTIPLY(a, b) ((a) * (b))
#define MAXIMUM(a, b) ((a) != (a) || (a) > (b) ? (a) : (b)) /* b where it is NaN */
#define MINIMUM(a, b) ((a) != (a) || (a) < (b) ? (a) : (b))

#define FUNCTION(name, element, wide, widen, narrow, OPERATION)                                   \
    static void name(void *in, void *inout, int *count, mlc_mpi_handle *datatype)                 \
    {                                                                                             \
        const element *restrict x = in;                                                           \
        element *restrict y = inout;                                                              \
        (void)datatype;                                                                           \
        for (ptrdiff_t i = 0, n = *count; i < n; i++) {                                           \
            wide a = widen(x[i]), b = widen(y[i]);                                                \
            y[i] = narrow(OPERATION(a, b));                                                       \
        }                                                                                         \
    }

FUNCTION(add_f16, uint16_t, float, f16_to_f32, f32_to_f16, ADD)
FUNCTION(multiply_f16, uint16_t, float, f16_to_f32, f32_to_f16, MULTIPLY)
FUNCTION(maximum_f16, uint16_t, float, f16_to_f32, f32_to_f16, MAXIMUM)
FUNCTION(minimum_f16, uint16_t, float, f16_to_f32, f32_to_f16, MINIMUM)
FUNCTION(add_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, ADD)
FUNCTION(multiply_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, MULTIPLY)
FUNCTION(maximum_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, MAXIMUM)
FUNCTION(minimum_bf16, uint16_t, float, bf16_to_f32, f32_to_bf16, MINIMUM)
FUNCTION(maximum_f32, float, float, same_f32, same_f32, MAXIMUM)
FUNCTION(minimum_f32, float, float, same_f32, same_f32, MINIMUM)
FUNCTION(maximum_f64, double, double, same_f64, same_f64, MAXIMUM)
FUNCTION(minimum_f64, double, double, same_f64, same_f64, MINIMUM)

static const mlc_mpi_function FUNCTIONS[F64 + 1][MLC_MINIMUM + 1] = {
    [F16] = {add_f16, multiply_f16, maximum_f16, minimum_f16},
    [BF16] = {add_bf16, multiply_bf16, maximum_bf16, minimum_bf16},
    [F32] = {NULL, NULL, maximum_f32, minimum_f32},
    [F64] = {NULL, NULL, maximum_f64, minimum_f64},
};

mlc_mpi_function mlc_mpi_reduce_function(uint32_t dtype, uint32_t reduction)
{
    return dtype <= F64 && reduction <= MLC_MINIMUM ? FUNCTIONS[dtype][reduction] : NULL;
}
