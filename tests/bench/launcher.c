/* Launches compiled kernels many times in a row and measures the best of short batches, in this thread's time on a CPU: no Python in between. */

#include <stdint.h>
#include <time.h>

typedef void (*mlc_bench_kernel)(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch);

struct mlc_bench_call {
    mlc_bench_kernel kernel;
    void *const *buffers;
    const int64_t *sizes;
    int64_t tasks;
    void *scratch;
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/*
 * Run the n calls one after the other, `launches` times in all, in batches of `batch`; all tasks on this thread.
 * Returns the CPU seconds of one launch (all n calls) in the fastest batch: what else the machine does only adds.
 */
double mlc_bench_launch(const struct mlc_bench_call *calls, int64_t n, int64_t launches, int64_t batch)
{
    double best = 1e30;

    for (int64_t done = 0; done < launches; done += batch) {
        double start = seconds(), each;

        for (int64_t k = 0; k < batch; k++)
            for (int64_t c = 0; c < n; c++)
                calls[c].kernel(calls[c].buffers, calls[c].sizes, 0, calls[c].tasks, calls[c].scratch);
        each = (seconds() - start) / (double)batch;
        if (each < best)
            best = each;
    }
    return best;
}
