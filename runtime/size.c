/* Sizes: polynomials over run-time symbols, and the bytes of a type. */
#include "plan.h"

static const struct {
    const char *name;
    uint32_t bytes;
} DTYPES[MLC_N_DTYPES] = {
    {"f16", 2}, {"bf16", 2}, {"f32", 4}, {"f64", 8}, {"i8", 1},  {"i16", 2},  {"i32", 4},
    {"i64", 8}, {"u8", 1},   {"u16", 2}, {"u32", 4}, {"u64", 8}, {"bool", 1},
}; /* in the order of mlc.ir.types.DTYPES */

uint32_t mlc_dtype_bytes(uint32_t dtype)
{
    return DTYPES[dtype].bytes;
}

const char *mlc_dtype_name(uint32_t dtype)
{
    return DTYPES[dtype].name;
}

bool mlc_size_evaluate(const struct mlc_size *size, const int64_t *symbols, int64_t *out)
{
    int64_t total = 0;

    for (uint32_t t = 0; t < size->n_terms; t++) {
        const struct mlc_term *term = &size->terms[t];
        int64_t product = term->coefficient;
        for (uint32_t f = 0; f < term->n_factors; f++)
            if (__builtin_mul_overflow(product, symbols[term->factors[f]], &product))
                return false;
        if (__builtin_add_overflow(total, product, &total))
            return false;
    }
    *out = total;
    return true;
}

bool mlc_type_bytes(const struct mlc_type *type, const int64_t *sizes, int64_t *out)
{
    int64_t total = mlc_dtype_bytes(type->dtype);
    bool empty = false;

    for (uint32_t axis = 0; axis < type->rank; axis++) {
        int64_t n = sizes[type->shape[axis]];
        if (n < 0)
            return false;
        empty |= n == 0;
        if (n != 0 && __builtin_mul_overflow(total, n, &total))
            return false;
    }
    *out = empty ? 0 : total;
    return true;
}

static bool is_static(const struct mlc_size *size)
{
    for (uint32_t t = 0; t < size->n_terms; t++)
        if (size->terms[t].n_factors)
            return false;
    return true;
}

bool mlc_static_bytes(const struct mlc_plan *plan, const struct mlc_type *type, int64_t *out)
{
    int64_t extents[MLC_MAX_RANK];
    uint32_t axes[MLC_MAX_RANK];

    for (uint32_t axis = 0; axis < type->rank; axis++) {
        const struct mlc_size *size = &plan->sizes[type->shape[axis]];
        if (!is_static(size) || !mlc_size_evaluate(size, NULL, &extents[axis]))
            return false;
        axes[axis] = axis;
    }
    struct mlc_type plain = {type->dtype, type->rank, axes};
    return mlc_type_bytes(&plain, extents, out);
}
