/* Kernels as the compiler would emit them, written by hand; a task is a run of `grain` elements, given as a size. */
#include <stdint.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define FOR_ELEMENTS(i, n, grain, begin, end)                                                                          \
    for (int64_t i = (begin) * (grain); i < MIN((n), (end) * (grain)); i++)

/* out[i] = 2 * x[i], through scratch of `grain` floats. Sizes: n, grain. */
void scale(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0];
    float *out = buffers[1], *own = scratch;
    int64_t n = sizes[0], grain = sizes[1];

    for (int64_t task = begin; task < end; task++) {
        int64_t first = task * grain, count = MIN(n - first, grain);
        for (int64_t i = 0; i < count; i++)
            own[i] = x[first + i];
        for (int64_t i = 0; i < count; i++)
            out[first + i] = 2 * own[i];
    }
}

/* out[i] = x[n - 1 - i] + c[0]: reads what other threads wrote. */
void reverse_add(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0], *c = buffers[1];
    float *out = buffers[2];
    int64_t n = sizes[0];
    (void)scratch;
    FOR_ELEMENTS(i, n, sizes[1], begin, end)
        out[i] = x[n - 1 - i] + c[0];
}

/* sum[0] = sum of x, in order; one task. */
void total(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0];
    float *sum = buffers[1], value = 0;
    (void)scratch, (void)begin, (void)end;
    for (int64_t i = 0; i < sizes[0]; i++)
        value += x[i];
    sum[0] = value;
}

/* x[i] += sum[0] */
void add_total(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    float *x = buffers[0];
    const float *sum = buffers[1];
    (void)scratch;
    FOR_ELEMENTS(i, sizes[0], sizes[1], begin, end)
        x[i] += sum[0];
}

/* out[i] = x[i] + 1; x and out may be the same memory. */
void increment(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0];
    float *out = buffers[1];
    (void)scratch;
    FOR_ELEMENTS(i, sizes[0], sizes[1], begin, end)
        out[i] = x[i] + 1;
}

/* out[0] = x[0] < limit[0], a bool; one task. */
void below(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0], *limit = buffers[1];
    (void)scratch, (void)begin, (void)end, (void)sizes;
    *(unsigned char *)buffers[2] = x[0] < limit[0];
}

/* out[0] = x[0] modulo 3, an i32; one task. */
void pick(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch)
{
    const float *x = buffers[0];
    (void)scratch, (void)begin, (void)end, (void)sizes;
    *(int32_t *)buffers[1] = (int32_t)x[0] % 3;
}
