/*
 * Runs the runtime without Python, under the sanitizers: all sizes and thread counts, donation, failing steps,
 * concurrent contexts, an emitted library's descriptor, fork, damaged plans.
 *
 * Usage: driver FOLDER, with the encoded plans stress.plan, counter.plan, looped.plan, overrun.plan of plans.py in FOLDER. Prints what
 * is wrong and exits with 1, or exits with 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mlc.h"
#include "plan.h"

enum { BOUND = 1024, N_KERNELS = 7 };

/* kernels.c */
void scale(void *const *, const int64_t *, int64_t, int64_t, void *);
void reverse_add(void *const *, const int64_t *, int64_t, int64_t, void *);
void total(void *const *, const int64_t *, int64_t, int64_t, void *);
void add_total(void *const *, const int64_t *, int64_t, int64_t, void *);
void increment(void *const *, const int64_t *, int64_t, int64_t, void *);
void below(void *const *, const int64_t *, int64_t, int64_t, void *);
void pick(void *const *, const int64_t *, int64_t, int64_t, void *);

static const mlc_kernel KERNELS[N_KERNELS] = {scale, reverse_add, total, add_total, increment, below, pick};
static const _Alignas(64) float CONSTANT[1] = {3};

static void require(int holds, const char *what, long long detail)
{
    if (holds)
        return;
    fprintf(stderr, "wrong: %s (%lld)\n", what, detail);
    exit(1);
}

struct plan_bytes {
    unsigned char *data;
    size_t size;
};

static struct plan_bytes read_plan(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.plan", folder, name);
    FILE *file = fopen(path, "rb");
    require(file != NULL, path, errno);
    struct plan_bytes plan = {malloc(1 << 16), 0};
    plan.size = fread(plan.data, 1, 1 << 16, file);
    fclose(file);
    return plan;
}

static struct mlc_program *make(struct plan_bytes plan, size_t n_constants)
{
    const void *constants[1] = {CONSTANT};
    struct mlc_program *program;
    char text[256] = "";
    int status = mlc_program_create(plan.data, plan.size, KERNELS, N_KERNELS, constants, n_constants, &program, text,
                                    sizeof text);
    require(status == 0, text, status);
    return program;
}

/* Memory of exactly n floats, so that a step beyond it is seen. */
static float *floats(int64_t n)
{
    void *block = NULL;
    require(posix_memalign(&block, MLC_ALIGNMENT, (size_t)(n ? n : 1) * sizeof(float)) == 0, "memory", n);
    return block;
}

/* One run of the stress plan, checked against a plain loop. `run` is mlc_program_run or goes through a library. */
typedef int (*run_function)(void *target, struct mlc_context *, void *const *, const int64_t *, void *const *);

static int run_program(void *target, struct mlc_context *context, void *const *inputs, const int64_t *symbols,
                       void *const *outputs)
{
    return mlc_program_run(target, context, inputs, symbols, outputs);
}

/* Every step of a profiled run was measured, whatever was there before. */
static int run_profiled(void *target, struct mlc_context *context, void *const *inputs, const int64_t *symbols,
                        void *const *outputs)
{
    size_t n = mlc_program_steps(target);
    int64_t *nanoseconds = malloc(n * sizeof *nanoseconds);

    memset(nanoseconds, 0xff, n * sizeof *nanoseconds);
    int status = mlc_program_profile(target, context, inputs, symbols, outputs, nanoseconds);
    for (size_t i = 0; i < n; i++)
        require(nanoseconds[i] >= 0, "the time of a step", (long long)i);
    free(nanoseconds);
    return status;
}

static int run_library(void *target, struct mlc_context *context, void *const *inputs, const int64_t *symbols,
                       void *const *outputs)
{
    return mlc_function_run(target, 0, context, inputs, symbols, outputs);
}

static void check_stress(run_function run, void *target, struct mlc_context *context, int64_t n)
{
    float *x = floats(n), *y = floats(n), *doubled = floats(n);
    _Alignas(MLC_ALIGNMENT) float sum[1];
    double expected_sum = 0;

    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i % 5);
    int status = run(target, context, (void *[]){x}, &n, (void *[]){y, doubled, sum});
    require(status == 0, mlc_context_error(context), status);
    for (int64_t i = 0; i < n; i++)
        expected_sum += 2 * x[i] + 3;
    require(sum[0] == expected_sum, "the sum", n);
    for (int64_t i = 0; i < n; i++) {
        require(doubled[i] == 2 * x[i], "2 x", i);
        require(y[i] == 2 * x[n - 1 - i] + 3 + expected_sum, "y", i);
    }
    free(x), free(y), free(doubled);
}

static void test_sizes_and_threads(struct plan_bytes plan)
{
    struct mlc_program *program = make(plan, 1);
    for (int threads = 1; threads <= 4; threads++) {
        struct mlc_context *context;
        require(mlc_context_create(threads, &context) == 0, "a context", threads);
        require(mlc_context_threads(context) == threads, "the number of threads", threads);
        for (int64_t n = 0; n <= BOUND; n += n < 40 ? 1 : 41)
            check_stress(n % 3 ? run_program : run_profiled, program, context, n);
        for (int64_t bad = -1; bad <= BOUND + 1; bad += BOUND + 2) {
            int status = mlc_program_run(program, context, (void *[]){NULL}, &bad, (void *[]){NULL, NULL, NULL});
            require(status == -EINVAL && strstr(mlc_context_error(context), "outside its bounds"), "bounds", bad);
        }
        int64_t n = 4;
        int status = mlc_program_run(program, context, (void *[]){NULL}, &n, (void *[]){NULL, NULL, NULL});
        require(status == -EINVAL && strstr(mlc_context_error(context), "no memory was given"), "NULL", status);
        mlc_context_destroy(context);
    }
    mlc_program_destroy(program);
}

static void test_donation(struct plan_bytes plan)
{
    struct mlc_program *program = make(plan, 0);
    struct mlc_context *context;
    int64_t n = 100;
    float *state = memset(floats(n), 0, 100 * sizeof *state), *next = floats(n), *other = calloc(100, sizeof *other);

    require(mlc_context_create(3, &context) == 0, "a context", 0);
    for (int i = 0; i < 50; i++)
        require(mlc_program_run(program, context, (void *[]){state, other}, &n, (void *[]){state}) == 0, "a run", i);
    require(state[0] == 50 && state[99] == 50, "in place", (long long)state[0]);
    require(mlc_program_run(program, context, (void *[]){state, other}, &n, (void *[]){next}) == 0, "a run", 50);
    require(state[99] == 50 && next[0] == 51 && next[99] == 51, "copied first", (long long)next[0]);
    free(state), free(next), free(other);
    mlc_context_destroy(context);
    mlc_program_destroy(program);
}

static void test_failing_steps(struct plan_bytes bad, struct plan_bytes good)
{
    struct mlc_program *failing = make(bad, 0), *program = make(good, 1);
    for (int threads = 1; threads <= 4; threads++) {
        struct mlc_context *context;
        int64_t n = 300;
        float *x = calloc(300, sizeof *x), *y = floats(n);
        require(mlc_context_create(threads, &context) == 0, "a context", threads);
        for (int i = 0; i < 50; i++) {
            int status = mlc_program_run(failing, context, (void *[]){x}, &n, (void *[]){y});
            require(status == -ERANGE, "a copy outside its buffer", status);
            check_stress(run_program, program, context, n);
        }
        mlc_context_destroy(context);
        free(x), free(y);
    }
    mlc_program_destroy(failing);
    mlc_program_destroy(program);
}

static int stop_later(void *data)
{
    return --*(int *)data <= 0;
}

/* Loops and branches, nested: the same steps on any number of threads; a poll that says so ends a long loop. */
static void test_loops(struct plan_bytes plan)
{
    struct mlc_program *program = make(plan, 0);
    for (int threads = 1; threads <= 4; threads++) {
        struct mlc_context *context;
        int64_t n = 300;
        float *x = calloc(300, sizeof *x), *y = floats(n), zero = 0;
        int polls = 2;
        require(mlc_context_create(threads, &context) == 0, "a context", threads);
        for (int trips = 0; trips < 20; trips++) {
            float limit = (float)trips, want = 0;
            require(mlc_program_run(program, context, (void *[]){x, &zero, &limit}, &n, (void *[]){y}) == 0, "a run", trips);
            for (int k = 0; k < trips; k++)
                want = k % 3 == 0 ? want + 1 : k % 3 == 1 ? 2 * want : want + 2;
            require(y[0] == want + 1 && y[299] == want + 1, "a loop", trips);
        }
        float forever = 1e30f; /* the count stays at 2^24, where 1 more is lost */
        mlc_context_set_poll(context, stop_later, &polls);
        int status = mlc_program_run(program, context, (void *[]){x, &zero, &forever}, &n, (void *[]){y});
        require(status == -EINTR && strstr(mlc_context_error(context), "stopped"), "a stopped loop", status);
        mlc_context_destroy(context);
        free(x), free(y);
    }
    mlc_program_destroy(program);
}

static void *run_many(void *library)
{
    struct mlc_context *context;
    require(mlc_context_create(2, &context) == 0, "a context", 0);
    for (int64_t n = 1; n < 300; n += 3)
        check_stress(run_library, library, context, n);
    mlc_context_destroy(context);
    return NULL;
}

/* Several threads make the program at once; the variant for a CPU that does not exist is never chosen. */
static void test_library(struct plan_bytes plan)
{
    struct mlc_variant variants[] = {{99, "none", 4, KERNELS, N_KERNELS}, {0, plan.data, plan.size, KERNELS, N_KERNELS}};
    struct mlc_function functions[] = {{.name = "stress", .variants = variants, .n_variants = 2, .n_constants = 1}};
    struct mlc_constant constants[] = {{"c", NULL, sizeof CONSTANT}};
    struct mlc_library library = {MLC_ABI, functions, 1, constants, 1};
    struct mlc_context *context;
    pthread_t threads[3];
    int64_t n = 1;

    require(mlc_context_create(1, &context) == 0, "a context", 0);
    int status = mlc_function_run(&library, 0, context, (void *[]){NULL}, &n, (void *[]){NULL});
    require(status == -ENODATA && strstr(mlc_context_error(context), "has not been set"), "an unset constant", status);
    require(mlc_library_set_constant(&library, 1, CONSTANT, 4) == -EINVAL, "a wrong index", 0);
    require(mlc_library_set_constant(&library, 0, CONSTANT, 8) == -EINVAL, "a wrong size", 0);
    require(mlc_library_set_constant(&library, 0, (const char *)CONSTANT + 4, 4) == -EINVAL, "misaligned", 0);
    require(mlc_library_set_constant(&library, 0, CONSTANT, sizeof CONSTANT) == 0, "a constant", 0);
    for (int i = 0; i < 3; i++)
        require(pthread_create(&threads[i], NULL, run_many, &library) == 0, "a thread", i);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    require(mlc_library_set_constant(&library, 0, CONSTANT, sizeof CONSTANT) == -EBUSY, "a late constant", 0);
    mlc_library_release(&library);
    check_stress(run_library, &library, context, 7);
    mlc_library_release(&library);
    require(mlc_function_run(&library, 1, context, NULL, NULL, NULL) == -EINVAL, "an unknown function", 0);
    library.abi++;
    require(mlc_function_run(&library, 0, context, NULL, NULL, NULL) == -ENOTSUP, "another ABI", 0);
    library.abi--;
    functions[0].n_variants = 1;
    require(mlc_function_run(&library, 0, context, NULL, NULL, NULL) == -ENOTSUP, "no variant", 0);
    mlc_context_destroy(context);
}

#ifdef WITH_FORK
static void test_fork(struct plan_bytes plan)
{
    struct mlc_program *program = make(plan, 1);
    struct mlc_context *context;
    require(mlc_context_create(3, &context) == 0, "a context", 0);
    for (int i = 0; i < 4; i++) {
        check_stress(run_program, program, context, 500);
        pid_t child = fork();
        if (child == 0) {
            if (i != 2) /* a child may also leave the context unused */
                check_stress(run_program, program, context, 501);
            mlc_context_destroy(context);
            _exit(0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        require(status == 0, "the child", status);
    }
    mlc_context_destroy(context);
    mlc_program_destroy(program);
}
#endif

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Damage `plan` in `changes` places, and make its checksum fit. */
static void damage(struct plan_bytes plan, unsigned char *copy, int changes, uint64_t *state)
{
    static const unsigned char bytes[] = {0, 1, 2, 3, 0x7f, 0x80, 0xff};
    memcpy(copy, plan.data, plan.size);
    for (int c = 0; c < changes; c++)
        copy[24 + next_random(state) % (plan.size - 24)] = bytes[next_random(state) % sizeof bytes];
    uint32_t crc = mlc_crc32(copy + 24, plan.size - 24);
    for (int i = 0; i < 4; i++)
        copy[16 + i] = (unsigned char)(crc >> 8 * i);
}

/* Plans that pass the checksum and are damaged all the same: refused or decoded, without a bad access. */
static void test_damage(struct plan_bytes plan, size_t n_constants)
{
    const void *constants[1] = {CONSTANT};
    uint64_t state = 1;
    char text[64];
    int refused = 0;

    for (int i = 0; i < 3000; i++) {
        unsigned char *copy = malloc(plan.size);
        struct mlc_program *program;
        damage(plan, copy, 1 + i % 3, &state);
        int status = mlc_program_create(copy, plan.size, KERNELS, N_KERNELS, constants, n_constants, &program, text, 64);
        refused += status != 0;
        require((status == 0) == (program != NULL), "a program or an error", status);
        mlc_program_destroy(program);
        free(copy);
    }
    require(refused > 300, "damage that is refused", refused);
    for (size_t size = 0; size < plan.size; size++) {
        unsigned char *copy = malloc(size ? size : 1);
        struct mlc_program *program;
        memcpy(copy, plan.data, size);
        int status = mlc_program_create(copy, size, KERNELS, N_KERNELS, constants, n_constants, &program, NULL, 0);
        require(status == -EBADMSG && !program, "a truncated plan", (long long)size);
        free(copy);
    }
}

int main(int argc, char **argv)
{
    require(argc == 2, "usage: driver FOLDER", argc);
    struct plan_bytes stress = read_plan(argv[1], "stress"), counter = read_plan(argv[1], "counter");
    struct plan_bytes overrun = read_plan(argv[1], "overrun"), looped = read_plan(argv[1], "looped");

    test_sizes_and_threads(stress);
    test_donation(counter);
    test_failing_steps(overrun, stress);
    test_loops(looped);
    test_library(stress);
#ifdef WITH_FORK
    test_fork(stress);
#endif
    test_damage(stress, 1);
    test_damage(counter, 0);
    test_damage(looped, 0);
    free(stress.data), free(counter.data), free(overrun.data), free(looped.data);
    return 0;
}
