/*
 * mlc.h: the public interface of the mlc runtime, which walks compiled Plans on a pool of threads.
 *
 * Needs libc and POSIX threads, holds no global state, knows no Python. Functions that return int return 0 or a
 * negative errno value. What an emitted library shares with this header (the structs below) is ABI version
 * MLC_ABI; a library of another version is refused.
 *
 * The declarations between the two markers are plain enough for cffi, which reads them.
 */
#ifndef MLC_H
#define MLC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define MLC_ABI 1u
#define MLC_ALIGNMENT 64u /* of constants, outputs, the arena and scratch; inputs need their element's alignment */

/* --- interface --- */

/*
 * A compiled kernel: runs iterations [begin, end) of its outermost parallel loop. `buffers` has one pointer per
 * operand, `sizes` one value per run-time size, `scratch` is this thread's own memory.
 */
typedef void (*mlc_kernel)(void *const *buffers, const int64_t *sizes, int64_t begin, int64_t end, void *scratch);

/* Threads, arena and error text. One call at a time per context; different contexts are independent. */
struct mlc_context;

/*
 * Create a context with `threads` threads, the caller among them. 0 means: MLC_NUM_THREADS where set, else the
 * CPUs that affinity and cgroup quota leave this process. They start with the first call that has work for two, and
 * again in a child after a fork (but a context whose call ran while another thread forked is lost to the child). The
 * caller owns *out. -EINVAL for a negative or absurd count, -ENOMEM.
 */
int mlc_context_create(int threads, struct mlc_context **out);

/* Stop the threads and free everything. No call may be running in `context`. NULL is fine. */
void mlc_context_destroy(struct mlc_context *context);

/* What the last failed call in `context` complained about ("" before any); valid until its next call. */
const char *mlc_context_error(const struct mlc_context *context);

/* Whether the last call in `context` came to its steps; a failed one that did not left the donated inputs as they were. */
int mlc_context_began(const struct mlc_context *context);

/* The number of threads of `context`, the caller included. */
int mlc_context_threads(const struct mlc_context *context);

/*
 * Have `poll(data)` asked, on the thread that calls mlc_program_run and about every 50 ms, between the trips of a loop
 * whether to stop: the call then fails with -EINTR. NULL, as at first, asks nobody.
 */
void mlc_context_set_poll(struct mlc_context *context, int (*poll)(void *data), void *data);

/* The ranks of a distributed run, of which this process is one: see collective.h. */
struct mlc_world;

/*
 * From now on the collectives of programs that run in `context` are among the ranks of `world`, which stays the
 * caller's and must outlive them. One context at a time runs programs with collectives in a world. NULL, as at first:
 * programs with collectives are refused.
 */
void mlc_context_set_world(struct mlc_context *context, struct mlc_world *world);

/* A decoded Plan with its kernels and constants: immutable, may run in several contexts at once. */
struct mlc_program;

/*
 * Decode and check `plan` (untrusted bytes are fine; they may be freed afterwards) and bind kernel addresses and
 * constants in the Plan's order. Kernels and constant data stay the caller's and must outlive the program; the
 * two arrays are copied. On failure *out is NULL, and `error` (if error_size > 0) holds one line of text:
 * -EBADMSG for a damaged Plan, -ENOTSUP for one of another version, -EINVAL for counts that do not fit, -ENOMEM.
 */
int mlc_program_create(const void *plan, size_t plan_bytes, const mlc_kernel *kernels, size_t n_kernels,
                       const void *const *constants, size_t n_constants, struct mlc_program **out, char *error,
                       size_t error_size);

/* Free `program`; none of its calls may be running. NULL is fine. */
void mlc_program_destroy(struct mlc_program *program);

/*
 * Run `program` once. `inputs` and `outputs` have one pointer per input and output of the Plan, `symbols` one value
 * per symbol. Input memory is only read, but for a donated input, which lives on in its output's memory: pass the
 * same pointer for both, or the runtime copies it over first. Outputs overlap nothing else. Returns when all
 * threads have finished. -EINVAL for a symbol out of bounds or a missing or misaligned pointer, -EOVERFLOW for sizes
 * that do not fit, -ERANGE for a Plan that copies beyond a buffer, -ENOMEM, -EAGAIN where threads cannot be started,
 * -EINTR where a poll stopped a loop or a wait, -ENOTCONN for collectives without a world or of another size, and what
 * the world's functions return; the text is mlc_context_error's. After an error outputs hold anything, and so do donated
 * inputs if mlc_context_began.
 */
int mlc_program_run(const struct mlc_program *program, struct mlc_context *context, void *const *inputs,
                    const int64_t *symbols, void *const *outputs);

/*
 * mlc_program_run, and nanoseconds[i] becomes the time of the Plan's step i: that of the calling thread's share, and of
 * its wait for the other threads where they meet after it. One entry a step (mlc_program_steps); NULL measures nothing.
 */
int mlc_program_profile(const struct mlc_program *program, struct mlc_context *context, void *const *inputs,
                        const int64_t *symbols, void *const *outputs, int64_t *nanoseconds);

/* The number of steps of `program`'s Plan. */
size_t mlc_program_steps(const struct mlc_program *program);

/* ---- worlds of ranks ---- */

/* How many ranks the launcher of this process says that it started: mpiexec of any MPI, or srun. 1 without one. */
int mlc_launched_ranks(void);

/*
 * Join the world that the launcher has started, through the MPI library that MLC_MPI names, else through the first of
 * the usual names that opens, looked for in `folder` (NULL for none) and where the loader looks. The caller owns *out.
 * Every wait ends after MLC_COLLECTIVE_TIMEOUT seconds (600): the process then says which rank it waited for and exits
 * with 75. -ENOENT where there is no MPI, -ENOTSUP for one that cannot be used, -EPROTO where it is not the launcher's,
 * -EIO where it fails, -EINVAL for a wrong setting; `error` (if error_size > 0) holds the text.
 */
int mlc_mpi_open(const char *folder, struct mlc_world **out, char *error, size_t error_size);

/*
 * The version of NCCL, as it numbers itself (22304 is 2.23.4), with which collectives of device memory are done: of what
 * MLC_NCCL names, else libnccl.so.2 where the loader looks, else in a wheel below `folder` (NULL for none). Needs no
 * device. -ENOENT, -ENOTSUP with a text as mlc_mpi_open.
 */
int mlc_nccl_version(const char *folder, char *error, size_t error_size);

/* This process's place among the ranks, and their number. */
int mlc_world_rank(const struct mlc_world *world);
int mlc_world_size(const struct mlc_world *world);

/*
 * Leave the world. Waits for the other ranks to do so, too, unless a call of this world has failed. Nothing may be in
 * flight. NULL is fine.
 */
void mlc_world_close(struct mlc_world *world);

/* ---- what an ahead-of-time library holds ---- */

/* One function's Plan and kernels for CPUs of at least `level`: 0 for any, 3 for x86-64-v3, 4 for x86-64-v4. */
struct mlc_variant {
    uint32_t level;
    const void *plan;
    size_t plan_bytes;
    const mlc_kernel *kernels;
    size_t n_kernels;
};

/*
 * One exported function. `constants[i]` is the index into the library's table of the Plan's constant i; NULL where
 * they are the same. `program` starts as NULL and is the runtime's own.
 */
struct mlc_function {
    const char *name;
    const struct mlc_variant *variants;
    size_t n_variants;
    const uint32_t *constants;
    size_t n_constants;
    void *program;
};

/* One constant, aligned to 64 bytes; `data` is NULL until set where the weights travel beside the library. */
struct mlc_constant {
    const char *name;
    const void *data;
    size_t bytes;
};

/* The descriptor of an emitted library; writable memory of that library. `abi` is MLC_ABI. */
struct mlc_library {
    uint32_t abi;
    struct mlc_function *functions;
    size_t n_functions;
    struct mlc_constant *constants;
    size_t n_constants;
};

/*
 * Hand over constant `index`, before any call of a function that uses it; `data` stays the caller's and must
 * outlive the library's use. -EINVAL for a wrong index, size or alignment, -EBUSY after a function has run.
 */
int mlc_library_set_constant(struct mlc_library *library, size_t index, const void *data, size_t bytes);

/*
 * Run function `index` as mlc_program_run does, with the best variant for this CPU; the first call decodes its
 * Plan. Any thread may call, each with its own context. Also -ENOTSUP where no variant fits this CPU or the ABI
 * differs, -ENODATA for a constant that has not been set.
 */
int mlc_function_run(struct mlc_library *library, size_t index, struct mlc_context *context, void *const *inputs,
                     const int64_t *symbols, void *const *outputs);

/* Free what the calls of `library` have built. None may be running; later calls build it again. */
void mlc_library_release(struct mlc_library *library);

/* The x86-64 feature level of this CPU and its operating system: 4, 3, or 0 for less or another architecture. */
uint32_t mlc_cpu_level(void);

/* The number of CPUs that affinity and cgroup quota leave this process; at least 1. */
int mlc_cpu_count(void);

/* --- end of interface --- */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
