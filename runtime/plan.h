/*
 * The decoded Plan. Names follow mlc/ir/plan.py, which describes the meaning; the binary form is described there and
 * in plan_decode.c. Everything lives in `region`, and after mlc_plan_decode every index is in range.
 */
#ifndef MLC_PLAN_H
#define MLC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collective.h"
#include "error.h"
#include "memory.h"

enum { MLC_PLAN_VERSION = 4, MLC_MAX_RANK = 32, MLC_MAX_NESTING = 32 };
enum { MLC_MAX_DEVICES = 64, MLC_MAX_BLOCK = 1024, MLC_MAX_SHARED = 1 << 20 };
enum mlc_dtype { /* in the order of mlc.ir.types.DTYPES, floats first */
    MLC_F16, MLC_BF16, MLC_F32, MLC_F64, MLC_I8, MLC_I16, MLC_I32, MLC_I64, MLC_U8, MLC_U16, MLC_U32, MLC_U64, MLC_BOOL,
    MLC_N_DTYPES
};
enum mlc_space { MLC_INPUT, MLC_OUTPUT, MLC_CONSTANT, MLC_ARENA, MLC_N_SPACES };
enum mlc_step_kind {
    MLC_LAUNCH,
    MLC_COPY,
    MLC_LOOP,
    MLC_BRANCH,
    MLC_COLLECTIVE_START,
    MLC_COLLECTIVE_DONE,
    MLC_PROGRESS,
    MLC_N_STEP_KINDS
};
enum mlc_step_flags { MLC_BARRIER = 1, MLC_SERIAL = 2, MLC_STEP_FLAGS = 3 };

struct mlc_symbol {
    const char *name;
    int64_t lower, upper; /* inclusive, 0 <= lower <= upper */
    uint32_t input, axis; /* the first input dimension that is this symbol */
};

/* coefficient * product of symbols[factors[...]] */
struct mlc_term {
    int64_t coefficient;
    uint32_t n_factors;
    uint32_t *factors;
};

/* A sum of terms: a polynomial over the symbols. */
struct mlc_size {
    uint32_t n_terms;
    struct mlc_term *terms;
};

struct mlc_type {
    uint32_t dtype; /* position in mlc.ir.types.DTYPES */
    uint32_t rank;
    uint32_t *shape; /* indices of sizes */
};

/* A device beside the host: what the program calls it, the target of its kernels, the bytes of its arena. */
struct mlc_plan_device {
    const char *name, *target;
    int64_t arena_bytes;
};

/* An input, output or constant, in the memory of a device (0: the host, else 1 + the index of the Plan's device). */
struct mlc_value {
    const char *name;
    struct mlc_type type;
    uint32_t device;
    int32_t donated_to; /* inputs: output that takes over the memory, or -1 */
};

/* A place in memory: the base pointer in `slot` (inputs, outputs, constants, arenas in this order) plus `offset`. */
struct mlc_operand {
    uint32_t slot;
    int64_t offset;
};

struct mlc_tasks {
    uint32_t extent; /* index of a size */
    int64_t grain;   /* >= 1 */
};

/*
 * One step. The steps inside of a loop or branch follow it: `parts` says how many belong to the body or to each branch,
 * those inside of these included.
 */
struct mlc_step {
    uint32_t kind, flags;
    const char *label;
    uint32_t kernel; /* launches */
    uint32_t n_operands;
    struct mlc_operand *operands; /* copies: destination, source; collectives too; loops: a bool; branches: an i32 */
    uint32_t n_sizes;
    uint32_t *sizes; /* indices of sizes; copies: the one size is the number of bytes; collectives: their count */
    uint32_t n_tasks;
    struct mlc_tasks *tasks;
    uint32_t device, threads, shared_bytes; /* launches: where, and of a block there */
    uint32_t n_parts;
    uint32_t *parts;
    uint32_t slot;                               /* collectives that start, and waits */
    uint32_t collective, dtype, reduction, root; /* collectives: as in collective.h */
    uint32_t group_size, n_ranks;
    uint32_t *ranks;
};

struct mlc_plan {
    const char *name;
    uint32_t n_symbols, n_sizes, n_inputs, n_outputs, n_constants, n_kernels, n_steps, n_devices;
    struct mlc_symbol *symbols;
    struct mlc_size *sizes;
    struct mlc_plan_device *devices;
    struct mlc_value *inputs, *outputs, *constants;
    const char **kernels;
    struct mlc_step *steps;
    int64_t arena_bytes, scratch_bytes;
    uint32_t max_operands, max_sizes; /* of any step */
    uint32_t n_ranks;                 /* of the world that its collectives are for; 0 where it has none */
    struct mlc_region region;
};

/*
 * Decode untrusted `bytes` into *plan, which owns copies of everything; release it with mlc_plan_free, also after a
 * failure. -EBADMSG for damage, -ENOTSUP for another version, -ENOMEM.
 */
int mlc_plan_decode(const void *bytes, size_t n_bytes, struct mlc_plan *plan, const struct mlc_error *error);
void mlc_plan_free(struct mlc_plan *plan);

/* The number of the device whose memory `slot` is in, 0 for the host. */
uint32_t mlc_slot_device(const struct mlc_plan *plan, uint32_t slot);

/* Bytes of one element of `dtype`. */
uint32_t mlc_dtype_bytes(uint32_t dtype);

/* The name of `dtype` ("f32"). */
const char *mlc_dtype_name(uint32_t dtype);

/* Evaluate one size for symbol values that are within bounds; false where it overflows. */
bool mlc_size_evaluate(const struct mlc_size *size, const int64_t *symbols, int64_t *out);

/* Bytes of a value of `type` when the Plan's sizes are `sizes`; false for a negative size or overflow. */
bool mlc_type_bytes(const struct mlc_type *type, const int64_t *sizes, int64_t *out);

/* Bytes of a value whose type has no symbols; false where it has, or for a negative size or overflow. */
bool mlc_static_bytes(const struct mlc_plan *plan, const struct mlc_type *type, int64_t *out);

/* CRC-32 (zlib's) of `n` bytes. */
uint32_t mlc_crc32(const void *bytes, size_t n);

#endif
