/* All-reduces of f32 in place, many in a row: by the MPI library's own calls, or each as the step of a program. */

#include <time.h>

#include "mlc.h"
#include "mpi_library.h"

typedef int (*mlc_bench_run)(const struct mlc_program *program, struct mlc_context *context, void *const *inputs,
                             const int64_t *symbols, void *const *outputs);

enum { F32 = 2 };
static struct mlc_mpi mpi;
static mlc_mpi_handle comm;

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Find the MPI that runs in this process, and take a communicator of our own. 0, or `text` says why not. */
int mlc_bench_open(const char *folder, char *text, size_t size)
{
    struct mlc_error error = {text, size};
    int status = mlc_mpi_load(&mpi, folder, &error);

    return status ? status : mpi.comm_dup(mpi.comm_world, &comm);
}

/* The seconds of one of `repeats` all-reduces: Iallreduce, then Test until it is done. Negative where MPI fails. */
static double raw_batch(float *buffer, int64_t count, int64_t repeats)
{
    double start = seconds();

    for (int64_t i = 0; i < repeats; i++) {
        mlc_mpi_handle request = NULL;
        int done = 0;
        if (mpi.iallreduce(mpi.in_place, buffer, (int)count, mpi.datatypes[F32], mpi.ops[MLC_ADD], comm, &request))
            return -1;
        while (!done)
            if (mpi.test(&request, &done, mpi.status_ignore))
                return -1;
    }
    return (seconds() - start) / (double)repeats;
}

/* The least of several batches. */
double mlc_bench_raw(float *buffer, int64_t count, int64_t repeats, int64_t batches)
{
    double best = 1e30;

    for (int64_t b = 0; b < batches; b++) {
        double time = raw_batch(buffer, count, repeats);
        best = time < best ? time : best;
    }
    return best;
}

/* The seconds of one of `repeats` runs of a program. Negative where one fails. */
static double step_batch(mlc_bench_run run, const struct mlc_program *program, struct mlc_context *context,
                      void *const *inputs, void *const *outputs, int64_t repeats)
{
    double start = seconds();

    for (int64_t i = 0; i < repeats; i++)
        if (run(program, context, inputs, NULL, outputs))
            return -1;
    return (seconds() - start) / (double)repeats;
}

double mlc_bench_step(mlc_bench_run run, const struct mlc_program *program, struct mlc_context *context,
                      void *const *inputs, void *const *outputs, int64_t repeats, int64_t batches)
{
    double best = 1e30;

    for (int64_t b = 0; b < batches; b++) {
        double time = step_batch(run, program, context, inputs, outputs, repeats);
        best = time < best ? time : best;
    }
    return best;
}
