/*
 * Turns the binary form of a Plan into a checked struct mlc_plan.
 *
 * The form, all little-endian: header (magic "MLCP", u32 version, u64 total bytes, u32 CRC-32 of what follows the
 * header, u32 zero), then name, symbols, sizes, devices, inputs, outputs, constants, kernel names, i64 arena bytes, i64
 * scratch bytes, steps. A list is a u32 count and its items; a string a u32 count and UTF-8 without NUL. A size is a list of
 * terms (i64 coefficient, list of u32 symbols); everything else names sizes by their u32 position in that table.
 * A type is u32 dtype and a list of sizes; a device its name, the name of its target and i64 arena bytes; an input,
 * output or constant a name, a type and u32 device (and an input the output that it is donated to, or -1).
 *
 * A step is u32 kind, u32 flags and its label, then: a launch u32 kernel, lists of operands, sizes and tasks, and u32
 * device, threads and shared bytes; a copy two operands and a size; a loop and a branch an operand, which they decide by, and the list of how many of the
 * following steps are the loop's body or each of the branches; a collective u32 kind, slot, dtype, reduction and root,
 * destination and source, a size, u32 group size and the list of ranks; a wait u32 slot; progress nothing.
 */
#include <errno.h>
#include <string.h>

#include "plan.h"

enum { HEADER_BYTES = 24 };
static const int64_t MAX_BYTES = (int64_t)1 << 56; /* of the arena, of scratch, of an offset */

/* Reads forward; the first problem sticks in `status`, after which every read gives 0 and every list is empty. */
struct reader {
    const unsigned char *at, *end;
    struct mlc_plan *plan;
    const struct mlc_error *error;
    int status;
};

/* Record the first problem, and stop reading: everything that follows reads as 0. */
static void damaged(struct reader *r, const char *what)
{
    if (!r->status)
        r->status = mlc_fail(r->error, -EBADMSG, "plan: damaged: %s", what);
    r->at = r->end;
}

static void expect(struct reader *r, bool holds, const char *what)
{
    if (!holds)
        damaged(r, what);
}

static uint64_t read_integer(struct reader *r, unsigned n_bytes)
{
    uint64_t value = 0;

    if ((size_t)(r->end - r->at) < n_bytes) {
        damaged(r, "it ends too early");
        return 0;
    }
    for (unsigned i = 0; i < n_bytes; i++)
        value |= (uint64_t)r->at[i] << 8 * i;
    r->at += n_bytes;
    return value;
}

static uint32_t read_u32(struct reader *r)
{
    return (uint32_t)read_integer(r, 4);
}

static int64_t read_i64(struct reader *r)
{
    return (int64_t)read_integer(r, 8);
}

/* A u32 that must be below `limit`; 0 where it is not. */
static uint32_t read_index(struct reader *r, uint32_t limit, const char *what)
{
    uint32_t index = read_u32(r);
    if (index < limit)
        return index;
    damaged(r, what);
    return 0;
}

/* The count of a list whose items take at least `item_bytes` each, so that no count can ask for absurd memory. */
static uint32_t read_count(struct reader *r, size_t item_bytes)
{
    uint32_t count = read_u32(r);
    if (count <= (size_t)(r->end - r->at) / item_bytes)
        return count;
    damaged(r, "a list is longer than the plan");
    return 0;
}

/* Zeroed memory of the plan, or NULL with the status set. */
static void *allocate(struct reader *r, size_t count, size_t size)
{
    void *objects = mlc_region_allocate(&r->plan->region, count, size);
    if (!objects) {
        if (!r->status)
            r->status = mlc_fail(r->error, -ENOMEM, "plan: out of memory while decoding it");
        r->at = r->end;
    }
    return objects;
}

/* Read a list: its count goes to `count`, zeroed items to `items`; the body runs for each index i. */
#define READ_LIST(r, items, count, item_bytes)                                                                         \
    (count) = read_count(r, item_bytes);                                                                               \
    (items) = allocate(r, count, sizeof *(items));                                                                     \
    for (uint32_t i = 0; (items) && i < (count) && !(r)->status; i++)

static const char *read_string(struct reader *r)
{
    uint32_t n = read_count(r, 1);
    char *text = allocate(r, (size_t)n + 1, 1);

    if (!text)
        return "";
    memcpy(text, r->at, n);
    if (memchr(text, 0, n))
        damaged(r, "a name holds a NUL");
    else
        r->at += n;
    return text;
}

static void read_symbols(struct reader *r)
{
    struct mlc_plan *plan = r->plan;
    READ_LIST(r, plan->symbols, plan->n_symbols, 20)
    {
        struct mlc_symbol *symbol = &plan->symbols[i];
        symbol->name = read_string(r);
        symbol->lower = read_i64(r);
        symbol->upper = read_i64(r);
        symbol->input = UINT32_MAX;
        expect(r, 0 <= symbol->lower && symbol->lower <= symbol->upper, "a symbol's bounds hold no size");
    }
}

static void read_term(struct reader *r, struct mlc_term *term)
{
    term->coefficient = read_i64(r);
    READ_LIST(r, term->factors, term->n_factors, 4)
        term->factors[i] = read_index(r, r->plan->n_symbols, "a size names an unknown symbol");
}

static void read_size(struct reader *r, struct mlc_size *size)
{
    READ_LIST(r, size->terms, size->n_terms, 12)
        read_term(r, &size->terms[i]);
}

static void read_sizes(struct reader *r)
{
    READ_LIST(r, r->plan->sizes, r->plan->n_sizes, 4)
        read_size(r, &r->plan->sizes[i]);
}

static uint32_t read_size_index(struct reader *r)
{
    return read_index(r, r->plan->n_sizes, "an unknown size");
}

static void read_value(struct reader *r, struct mlc_value *value)
{
    struct mlc_type *type = &value->type;

    value->name = read_string(r);
    value->donated_to = -1;
    type->dtype = read_index(r, MLC_N_DTYPES, "an unknown element type");
    READ_LIST(r, type->shape, type->rank, 4)
        type->shape[i] = read_size_index(r);
    value->device = read_index(r, r->plan->n_devices + 1, "an unknown device");
    expect(r, type->rank <= MLC_MAX_RANK, "a type has too many dimensions");
}

static void read_devices(struct reader *r)
{
    struct mlc_plan *plan = r->plan;
    READ_LIST(r, plan->devices, plan->n_devices, 16)
    {
        struct mlc_plan_device *device = &plan->devices[i];
        device->name = read_string(r);
        device->target = read_string(r);
        device->arena_bytes = read_i64(r);
        expect(r, 0 <= device->arena_bytes && device->arena_bytes <= MAX_BYTES, "the size of a device's arena");
    }
    expect(r, plan->n_devices <= MLC_MAX_DEVICES, "too many devices");
}

static void read_inputs(struct reader *r)
{
    READ_LIST(r, r->plan->inputs, r->plan->n_inputs, 20)
    {
        read_value(r, &r->plan->inputs[i]);
        r->plan->inputs[i].donated_to = (int32_t)read_u32(r);
    }
}

static void read_constants(struct reader *r)
{
    struct mlc_plan *plan = r->plan;
    int64_t bytes;
    READ_LIST(r, plan->constants, plan->n_constants, 16)
    {
        read_value(r, &plan->constants[i]);
        expect(r, r->status || mlc_static_bytes(plan, &plan->constants[i].type, &bytes), "the size of a constant");
    }
}

static void read_operand(struct reader *r, struct mlc_operand *operand)
{
    const struct mlc_plan *plan = r->plan;
    const uint32_t counts[MLC_N_SPACES] = {plan->n_inputs, plan->n_outputs, plan->n_constants, plan->n_devices + 1};
    uint32_t space = read_index(r, MLC_N_SPACES, "an operand in an unknown space");

    uint32_t index = operand->slot = read_index(r, counts[space], "an operand names an unknown buffer");
    for (uint32_t before = 0; before < space; before++)
        operand->slot += counts[before];
    operand->offset = read_i64(r);
    int64_t limit = MAX_BYTES;
    if (space == MLC_ARENA && !r->status)
        limit = index ? plan->devices[index - 1].arena_bytes : plan->arena_bytes;
    expect(r, 0 <= operand->offset && operand->offset <= limit, "an operand lies outside its buffer");
}

uint32_t mlc_slot_device(const struct mlc_plan *plan, uint32_t slot)
{
    if (slot < plan->n_inputs)
        return plan->inputs[slot].device;
    slot -= plan->n_inputs;
    if (slot < plan->n_outputs)
        return plan->outputs[slot].device;
    slot -= plan->n_outputs;
    return slot < plan->n_constants ? plan->constants[slot].device : slot - plan->n_constants;
}

/* Where a launch runs: its operands are in that device's memory, and worker 0 puts it on the device's stream. */
static void read_block(struct reader *r, struct mlc_step *step)
{
    step->device = read_index(r, r->plan->n_devices + 1, "a launch on an unknown device");
    step->threads = read_u32(r);
    step->shared_bytes = read_u32(r);
    if (step->device) {
        expect(r, step->flags & MLC_SERIAL, "a launch on a device that is not serial");
        expect(r, 1 <= step->threads && step->threads <= MLC_MAX_BLOCK, "the threads of a block");
        expect(r, step->shared_bytes <= MLC_MAX_SHARED, "the shared memory of a block");
    } else {
        expect(r, !step->threads && !step->shared_bytes, "threads and shared memory of a block on the host");
    }
    for (uint32_t i = 0; i < step->n_operands && !r->status; i++)
        expect(r, mlc_slot_device(r->plan, step->operands[i].slot) == step->device,
               "an operand of a launch in another device's memory");
}

static void read_launch(struct reader *r, struct mlc_step *step)
{
    step->kernel = read_index(r, r->plan->n_kernels, "a launch of an unknown kernel");
    READ_LIST(r, step->operands, step->n_operands, 16)
        read_operand(r, &step->operands[i]);
    READ_LIST(r, step->sizes, step->n_sizes, 4)
        step->sizes[i] = read_size_index(r);
    READ_LIST(r, step->tasks, step->n_tasks, 12)
    {
        step->tasks[i].extent = read_size_index(r);
        step->tasks[i].grain = read_i64(r);
        expect(r, step->tasks[i].grain >= 1, "a grain below 1");
    }
    read_block(r, step);
}

/* May a copy write there: outputs, the arena, and inputs that were given away. */
static bool is_writable(const struct mlc_plan *plan, uint32_t slot)
{
    if (slot < plan->n_inputs)
        return plan->inputs[slot].donated_to >= 0;
    slot -= plan->n_inputs;
    return slot < plan->n_outputs || slot >= plan->n_outputs + plan->n_constants;
}

static void read_copy(struct reader *r, struct mlc_step *step)
{
    step->n_operands = 2;
    step->operands = allocate(r, 2, sizeof *step->operands);
    step->n_sizes = 1;
    step->sizes = allocate(r, 1, sizeof *step->sizes);
    if (r->status)
        return;
    read_operand(r, &step->operands[0]);
    read_operand(r, &step->operands[1]);
    step->sizes[0] = read_size_index(r);
    expect(r, r->status || is_writable(r->plan, step->operands[0].slot), "a copy writes what is read-only");
    for (uint32_t i = 0; i < 2 && !r->status; i++)
        expect(r, (step->flags & MLC_SERIAL) || !mlc_slot_device(r->plan, step->operands[i].slot),
               "a copy from or to a device that is not serial");
}

/* What a loop or branch decides by, and the lengths of its parts. */
static void read_nest(struct reader *r, struct mlc_step *step)
{
    step->n_operands = 1;
    step->operands = allocate(r, 1, sizeof *step->operands);
    if (r->status)
        return;
    read_operand(r, step->operands);
    READ_LIST(r, step->parts, step->n_parts, 4)
        step->parts[i] = read_u32(r);
    expect(r, !step->flags, "a loop or branch with flags");
    if (step->kind == MLC_LOOP)
        expect(r, step->n_parts == 1, "a loop has one body");
    else
        expect(r, step->n_parts >= 1, "a branch to nowhere");
}

/* The ranks of a collective hold each of 0 .. n - 1 once, in groups of one size; those of a Plan are of one world. */
static void check_ranks(struct reader *r, const struct mlc_step *step)
{
    struct mlc_plan *plan = r->plan;
    bool *seen = allocate(r, step->n_ranks, sizeof *seen);

    expect(r, step->group_size && step->n_ranks && step->n_ranks % step->group_size == 0, "groups of ranks");
    expect(r, step->root < step->group_size, "a root outside of its group");
    expect(r, !plan->n_ranks || plan->n_ranks == step->n_ranks, "collectives of worlds that differ in size");
    for (uint32_t i = 0; i < step->n_ranks && !r->status; i++) {
        expect(r, step->ranks[i] < step->n_ranks && !seen[step->ranks[i]], "a collective that does not hold each rank once");
        if (!r->status)
            seen[step->ranks[i]] = true;
    }
    plan->n_ranks = step->n_ranks;
}

static void read_collective(struct reader *r, struct mlc_step *step)
{
    step->n_operands = 2;
    step->operands = allocate(r, 2, sizeof *step->operands);
    step->n_sizes = 1;
    step->sizes = allocate(r, 1, sizeof *step->sizes);
    if (r->status)
        return;
    step->collective = read_index(r, MLC_N_COLLECTIVES, "an unknown collective");
    step->slot = read_index(r, MLC_COLLECTIVE_SLOTS, "an unknown slot");
    step->dtype = read_index(r, MLC_N_DTYPES, "an unknown element type");
    step->reduction = read_index(r, MLC_N_REDUCTIONS, "an unknown reduction");
    step->root = read_u32(r);
    read_operand(r, &step->operands[0]);
    read_operand(r, &step->operands[1]);
    step->sizes[0] = read_size_index(r);
    step->group_size = read_u32(r);
    READ_LIST(r, step->ranks, step->n_ranks, 4)
        step->ranks[i] = read_u32(r);
    expect(r, !(step->flags & MLC_SERIAL), "unknown flags of a collective");
    if (r->status)
        return;
    const struct mlc_plan *plan = r->plan;
    expect(r, is_writable(plan, step->operands[0].slot), "a collective writes what is read-only");
    expect(r, mlc_slot_device(plan, step->operands[0].slot) == mlc_slot_device(plan, step->operands[1].slot),
           "a collective over the memory of two devices");
    check_ranks(r, step);
}

static void read_wait(struct reader *r, struct mlc_step *step)
{
    step->slot = read_index(r, MLC_COLLECTIVE_SLOTS, "an unknown slot");
    expect(r, !(step->flags & MLC_SERIAL), "unknown flags of a wait");
}

/* Steps [begin, end) are whole: what a loop or branch holds ends with it, and is nested at most so deep. */
static void check_nesting(struct reader *r, uint32_t begin, uint32_t end, uint32_t depth)
{
    const struct mlc_step *steps = r->plan->steps;

    expect(r, begin == end || depth <= MLC_MAX_NESTING, "loops and branches are nested too deep");
    for (uint32_t i = begin; i < end && !r->status;) {
        const struct mlc_step *step = &steps[i++];
        for (uint32_t p = 0; p < step->n_parts && !r->status; p++) {
            uint32_t length = step->parts[p];
            expect(r, length <= end - i, "a loop or branch is longer than what holds it");
            if (!r->status)
                check_nesting(r, i, i + length, depth + 1);
            i += length;
        }
    }
}

static void read_steps(struct reader *r)
{
    struct mlc_plan *plan = r->plan;
    READ_LIST(r, plan->steps, plan->n_steps, 12)
    {
        struct mlc_step *step = &plan->steps[i];
        step->kind = read_index(r, MLC_N_STEP_KINDS, "an unknown kind of step");
        step->flags = read_index(r, MLC_STEP_FLAGS + 1, "unknown flags of a step");
        step->label = read_string(r);
        if (step->kind == MLC_LAUNCH)
            read_launch(r, step);
        else if (step->kind == MLC_COPY)
            read_copy(r, step);
        else if (step->kind == MLC_COLLECTIVE_START)
            read_collective(r, step);
        else if (step->kind == MLC_COLLECTIVE_DONE)
            read_wait(r, step);
        else if (step->kind == MLC_PROGRESS)
            expect(r, !step->flags, "progress with flags");
        else
            read_nest(r, step);
        plan->max_operands = step->n_operands > plan->max_operands ? step->n_operands : plan->max_operands;
        plan->max_sizes = step->n_sizes > plan->max_sizes ? step->n_sizes : plan->max_sizes;
    }
    if (!r->status)
        check_nesting(r, 0, plan->n_steps, 0);
}

/* A donated input names an output, and no output takes over two inputs. */
static void check_donations(struct reader *r)
{
    const struct mlc_plan *plan = r->plan;
    bool *taken = allocate(r, plan->n_outputs, sizeof *taken);

    for (uint32_t i = 0; taken && i < plan->n_inputs; i++) {
        int64_t output = plan->inputs[i].donated_to;
        expect(r, -1 <= output && output < (int64_t)plan->n_outputs, "an input is donated to an unknown output");
        if (r->status || output < 0)
            continue;
        expect(r, !taken[output], "two inputs are donated to one output");
        expect(r, plan->inputs[i].device == plan->outputs[output].device, "an input is donated to another device");
        taken[output] = true;
    }
}

/* The symbol that `size` is, or -1 for any other expression. */
static int64_t bare_symbol(const struct mlc_size *size)
{
    bool bare = size->n_terms == 1 && size->terms[0].coefficient == 1 && size->terms[0].n_factors == 1;
    return bare ? (int64_t)size->terms[0].factors[0] : -1;
}

/* Every symbol is found in the shape of an input, where a call reads its value. */
static void find_symbols(struct reader *r)
{
    struct mlc_plan *plan = r->plan;

    for (uint32_t i = 0; i < plan->n_inputs; i++) {
        for (uint32_t axis = 0; axis < plan->inputs[i].type.rank; axis++) {
            int64_t s = bare_symbol(&plan->sizes[plan->inputs[i].type.shape[axis]]);
            if (s >= 0 && plan->symbols[s].input == UINT32_MAX) {
                plan->symbols[s].input = i;
                plan->symbols[s].axis = axis;
            }
        }
    }
    for (uint32_t s = 0; s < plan->n_symbols; s++)
        expect(r, plan->symbols[s].input != UINT32_MAX, "a symbol is no dimension of any input");
}

static void read_body(struct reader *r)
{
    struct mlc_plan *plan = r->plan;

    plan->name = read_string(r);
    read_symbols(r);
    read_sizes(r);
    read_devices(r);
    read_inputs(r);
    READ_LIST(r, plan->outputs, plan->n_outputs, 16)
        read_value(r, &plan->outputs[i]);
    read_constants(r);
    READ_LIST(r, plan->kernels, plan->n_kernels, 4)
        plan->kernels[i] = read_string(r);
    plan->arena_bytes = read_i64(r);
    plan->scratch_bytes = read_i64(r);
    expect(r, 0 <= plan->arena_bytes && plan->arena_bytes <= MAX_BYTES, "the arena's size");
    expect(r, 0 <= plan->scratch_bytes && plan->scratch_bytes <= MAX_BYTES, "the scratch size");
    if (!r->status)
        check_donations(r);
    read_steps(r);
    if (!r->status && r->at != r->end)
        damaged(r, "bytes follow its end");
    if (!r->status)
        find_symbols(r);
}

/* Check magic, version, length and checksum; leaves the reader at the body. */
static void read_header(struct reader *r, size_t n_bytes)
{
    if (n_bytes < HEADER_BYTES || memcmp(r->at, "MLCP", 4) != 0) {
        damaged(r, "it does not begin as a plan does");
        return;
    }
    r->at += 4;
    uint32_t version = read_u32(r);
    if (version != MLC_PLAN_VERSION) {
        r->status = mlc_fail(r->error, -ENOTSUP, "plan: its version is %u, this runtime reads %u", (unsigned)version,
                             (unsigned)MLC_PLAN_VERSION);
        return;
    }
    expect(r, read_integer(r, 8) == n_bytes, "its length is not what its header says");
    uint32_t crc = read_u32(r);
    expect(r, read_u32(r) == 0, "its header");
    if (!r->status)
        expect(r, crc == mlc_crc32(r->at, n_bytes - HEADER_BYTES), "its checksum differs");
}

int mlc_plan_decode(const void *bytes, size_t n_bytes, struct mlc_plan *plan, const struct mlc_error *error)
{
    const unsigned char *at = bytes ? bytes : (const unsigned char *)"";
    struct reader r = {at, at + (bytes ? n_bytes : 0), plan, error, 0};

    memset(plan, 0, sizeof *plan);
    read_header(&r, bytes ? n_bytes : 0);
    if (!r.status)
        read_body(&r);
    return r.status;
}

void mlc_plan_free(struct mlc_plan *plan)
{
    mlc_region_free(&plan->region);
}
