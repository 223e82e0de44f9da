/* One call of a program: inputs checked against the Plan, donated blocks taken over, outputs made, the program run. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"

enum { FRAME_WORDS = 128 };

/* The tables lie in one frame. */
struct call {
    Executable *self;
    const struct mlc_plan *plan;
    struct input *inputs;
    Array **outputs;
    int64_t *symbols;
    void **from, **to; /* memory of inputs and outputs */
    Array **taken;     /* per input: the new owner of the block, where the call takes it over */
    Array **moved;     /* per input: a copy on the device where the Plan has it, or NULL where it is there */
};

/* ---- checks ---- */

/* Raise for input i, no number: what was expected and what came. */
static int mismatch(const struct call *call, uint32_t i, const char *class_name, const char *why)
{
    const struct mlc_value *value = &call->plan->inputs[i];
    const struct input *input = &call->inputs[i];
    struct text expected = expected_type(call->plan, &value->type);
    struct text actual = actual_type(input->dtype, input->rank, input_shape(input));
    return fail(class_name, "%s: input %s: expected %s, got %s%s", call->plan->name, value->name, expected.bytes,
                actual.bytes, why);
}

/* The bits of a number as bf16: the upper half of its f32, rounded to nearest, halves to even. */
static uint16_t bfloat_bits(double number)
{
    float single = (float)number;
    uint32_t bits;

    memcpy(&bits, &single, sizeof bits);
    if (single != single)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The bits of a number as f16, rounded to nearest, halves to even. */
static uint16_t half_bits(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    uint64_t fraction = (bits & 0xfffffffffffff) | (uint64_t)1 << 52;

    if (exponent == 1024)
        return (uint16_t)(sign | 0x7c00 | (number != number ? 0x200 : 0));
    if (exponent < -26)
        return sign;
    int drop = exponent < -14 ? 42 + (-14 - exponent) : 42; /* subnormals have fewer bits */
    uint64_t kept = fraction >> drop, rest = fraction & (((uint64_t)1 << drop) - 1), half = (uint64_t)1 << (drop - 1);
    kept += rest > half || (rest == half && (kept & 1));
    uint64_t value = exponent < -14 ? kept : kept + ((uint64_t)(exponent + 14) << 10);
    return (uint16_t)(sign | (value < 0x7c00 ? value : 0x7c00));
}

/* Numbers stand for arrays without axes. Writes the element to `data`; 1 where `leaf` is no number of a fitting kind. */
static int number_element(PyObject *leaf, const struct mlc_type *type, void *data)
{
    const char *dtype = mlc_dtype_name(type->dtype);
    bool is_integer = PyLong_Check(leaf), is_bool = PyBool_Check(leaf);
    uint32_t bytes = mlc_dtype_bytes(type->dtype);

    if (type->rank)
        return 1;
    if (dtype[0] == 'f' && bytes >= 4) {
        double number = PyFloat_AsDouble(leaf);
        float single = (float)number;
        memcpy(data, bytes == 8 ? (void *)&number : (void *)&single, bytes);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (type->dtype == MLC_F16 || type->dtype == MLC_BF16) {
        double value = PyFloat_AsDouble(leaf);
        *(uint16_t *)data = type->dtype == MLC_F16 ? half_bits(value) : bfloat_bits(value);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (strcmp(dtype, "bool") == 0 ? !is_bool : !is_integer || (dtype[0] != 'i' && dtype[0] != 'u'))
        return 1;
    bool is_unsigned = dtype[0] == 'u';
    uint64_t bits = is_unsigned ? PyLong_AsUnsignedLongLong(leaf) : (uint64_t)PyLong_AsLongLong(leaf);
    bool fits = !PyErr_Occurred();
    if (!fits && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    unsigned shift = 64 - 8 * bytes;
    int64_t narrowed = is_unsigned ? (int64_t)(bits << shift >> shift) : (int64_t)(bits << shift) >> shift;
    if (!fits || (uint64_t)narrowed != bits) {
        PyErr_Clear();
        PyObject *text = PyObject_Str(leaf), *ascii = text ? PyUnicode_AsASCIIString(text) : NULL;
        if (ascii)
            fail("DTypeError", "argument %.80s does not fit in %s", PyBytes_AsString(ascii), dtype);
        Py_XDECREF(ascii);
        Py_XDECREF(text);
        return -1;
    }
    memcpy(data, &bits, bytes); /* little-endian, as everything here */
    return 0;
}

/* Find the memory of input i. */
static int see_input(struct call *call, uint32_t i)
{
    struct input *input = &call->inputs[i];
    const struct mlc_value *value = &call->plan->inputs[i];

    call->taken[i] = NULL;
    if (input->kind == INPUT_ARRAY) {
        const Array *array = (const Array *)input->leaf;
        call->from[i] = array->data;
        if (array->data)
            return 0;
        struct text type = actual_type(array->dtype, array->rank, array->shape);
        return fail("DeletedError", "%s: input %s: this array (%s) was donated to a call, which took over its memory",
                    call->plan->name, value->name, type.bytes);
    }
    if (input->kind == INPUT_LOAN) {
        if (loan_straighten(&input->loan))
            return -1;
        call->from[i] = loan_data(&input->loan);
        return 0;
    }
    int status = number_element(input->leaf, &value->type, &input->element);
    if (status > 0) {
        struct text expected = expected_type(call->plan, &value->type);
        const char *kind = input->dtype == MLC_F32 ? "float" : input->dtype == MLC_BOOL ? "bool" : "int";
        return fail("ArgumentError", "%s: input %s: expected %s, got an object of type %s", call->plan->name, value->name,
                    expected.bytes, kind);
    }
    if (status)
        return -1;
    input->dtype = (uint8_t)value->type.dtype;
    call->from[i] = &input->element;
    return 0;
}

static int see_inputs(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++)
        if (see_input(call, i))
            return -1;
    return 0;
}

static int check_kind(const struct call *call, uint32_t i)
{
    const struct mlc_type *type = &call->plan->inputs[i].type;
    const struct input *input = &call->inputs[i];

    if (input->dtype != type->dtype)
        return mismatch(call, i, "DTypeError", "");
    if (input->rank != type->rank)
        return mismatch(call, i, "ShapeError", "; the number of axes differs");
    return 0;
}

/* Read the symbols from the shapes and check them against their bounds. */
static int bind_symbols(struct call *call)
{
    for (uint32_t s = 0; s < call->plan->n_symbols; s++) {
        const struct mlc_symbol *symbol = &call->plan->symbols[s];
        int64_t value = input_shape(&call->inputs[symbol->input])[symbol->axis];
        call->symbols[s] = value;
        if (value < symbol->lower || value > symbol->upper) {
            char why[160];
            snprintf(why, sizeof why, "; axis %u has %lld, %.60s is in %lld..%lld", symbol->axis, (long long)value,
                     symbol->name, (long long)symbol->lower, (long long)symbol->upper);
            return mismatch(call, symbol->input, "ShapeError", why);
        }
    }
    return 0;
}

static int check_shape(const struct call *call, uint32_t i)
{
    const struct mlc_type *type = &call->plan->inputs[i].type;

    for (uint32_t axis = 0; axis < type->rank; axis++) {
        const struct mlc_size *size = &call->plan->sizes[type->shape[axis]];
        Py_ssize_t actual = input_shape(&call->inputs[i])[axis];
        int64_t extent = 0;
        if (!mlc_size_evaluate(size, call->symbols, &extent) || extent != actual) {
            char why[96];
            snprintf(why, sizeof why, "; axis %u has %lld, not %lld", axis, (long long)actual, (long long)extent);
            return mismatch(call, i, "ShapeError", why);
        }
    }
    return 0;
}

static int check_inputs(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++)
        if (check_kind(call, i))
            return -1;
    if (bind_symbols(call))
        return -1;
    for (uint32_t i = 0; i < call->plan->n_inputs; i++)
        if (check_shape(call, i))
            return -1;
    return 0;
}

/* ---- devices ---- */

/* The Device with this number in the Plan; NULL for the host. */
static Device *plan_device(const struct call *call, uint32_t number)
{
    return number ? (Device *)PyTuple_GetItem(call->self->devices, number - 1) : NULL;
}

/* A copy of input i on `device`, as yet without its elements. */
static Array *moved_shell(const struct call *call, uint32_t i, Device *device)
{
    const struct input *input = &call->inputs[i];
    Py_ssize_t bytes = mlc_dtype_bytes(input->dtype);

    for (int axis = 0; axis < input->rank; axis++)
        bytes *= input_shape(input)[axis];
    Array *shell = array_shell(call->self->array_type, input->dtype, input->rank,
                               input->rank ? input_shape(input) : NULL, bytes);
    if (shell)
        shell->device = (Device *)Py_NewRef((PyObject *)device);
    return shell;
}

/* Copies of the inputs that are elsewhere than the Plan has them: to the host at once, to devices when all are known. */
static int move_inputs(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        Device *here = input_device(&call->inputs[i]), *wanted = plan_device(call, call->plan->inputs[i].device);
        if (here == wanted)
            continue;
        Array *host = here ? device_download((Array *)call->inputs[i].leaf) : NULL;
        if (here && !host)
            return -1;
        call->moved[i] = host;
        if (!wanted) {
            call->from[i] = host->data;
            continue;
        }
        Array *there = moved_shell(call, i, wanted);
        void *from = host ? host->data : call->from[i];
        int status = !there || (host && device_fill(wanted, &there, &from, 1)) ? -1 : 0;
        Py_XDECREF((PyObject *)host);
        call->moved[i] = there;
        if (status)
            return -1;
        if (host)
            call->from[i] = NULL; /* it is there */
    }
    return 0;
}

/* The blocks of devices: of inputs on their way there, with their elements, and of outputs. */
static int fill_devices(struct call *call)
{
    for (Py_ssize_t d = 0; d < PyTuple_Size(call->self->devices); d++) {
        Device *device = (Device *)PyTuple_GetItem(call->self->devices, d);
        if (device_fill(device, call->moved, call->from, call->plan->n_inputs) ||
            device_fill(device, call->outputs, NULL, call->plan->n_outputs))
            return -1;
    }
    for (uint32_t i = 0; i < call->plan->n_inputs; i++)
        if (call->moved[i])
            call->from[i] = call->moved[i]->data;
    return 0;
}

static void drop_moved(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++)
        Py_XDECREF((PyObject *)call->moved[i]);
}

/* ---- outputs ---- */

/* A new array of the type of output j, without memory. */
static Array *output_shell(struct call *call, uint32_t j)
{
    const struct mlc_value *output = &call->plan->outputs[j];
    Py_ssize_t shape[MLC_MAX_RANK], total = mlc_dtype_bytes(output->type.dtype);

    for (uint32_t axis = 0; axis < output->type.rank; axis++) {
        int64_t extent;
        if (!mlc_size_evaluate(&call->plan->sizes[output->type.shape[axis]], call->symbols, &extent) || extent < 0 ||
            __builtin_mul_overflow(total, extent, &total)) {
            fail("ShapeError", "%s: the size of output %s is negative or overflows", call->plan->name, output->name);
            return NULL;
        }
        shape[axis] = extent;
    }
    Array *shell = array_shell(call->self->array_type, output->type.dtype, (int)output->type.rank, shape, total);
    if (shell && output->device)
        shell->device = (Device *)Py_NewRef((PyObject *)plan_device(call, output->device));
    return shell;
}

static void drop_outputs(struct call *call, uint32_t n)
{
    while (n)
        Py_DECREF((PyObject *)call->outputs[--n]);
}

/* New arrays for all outputs, still without memory. */
static int make_outputs(struct call *call)
{
    for (uint32_t j = 0; j < call->plan->n_outputs; j++) {
        call->outputs[j] = output_shell(call, j);
        if (!call->outputs[j]) {
            drop_outputs(call, j);
            return -1;
        }
    }
    return 0;
}

/* Why the memory of donated input i may not become the output's; NULL where it may. */
static const char *why_kept(const struct call *call, uint32_t i, const Array *output)
{
    const struct input *input = &call->inputs[i];
    const Array *array = (const Array *)input->leaf;

    if (call->moved[i])
        return NULL; /* the copy on the Plan's device is the call's own */
    if (input->kind != INPUT_ARRAY)
        return "its memory is lent (pass an mlc array)";
    if (array->lender)
        return "its memory is borrowed";
    if (array->pins > 1)
        return "it is in use elsewhere (exported to NumPy or DLPack, passed twice, or held by another call)";
    return array->nbytes != output->nbytes ? "its size is not the output's" : NULL;
}

static Array *donation_target(const struct call *call, uint32_t i)
{
    int32_t j = call->plan->inputs[i].donated_to;
    return j < 0 ? NULL : call->outputs[j];
}

/* Say which donated inputs will be copied. Warnings run Python code, so nothing is decided here. */
static int warn_of_copies(const struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        const Array *output = donation_target(call, i);
        const char *why = output ? why_kept(call, i, output) : NULL;
        if (!why)
            continue;
        char text[512];
        snprintf(text, sizeof text, "%.120s: input %.120s is donated, but is copied: %s", call->plan->name,
                 call->plan->inputs[i].name, why);
        PyObject *module = PyImport_ImportModule("mlc.errors");
        PyObject *done = module ? PyObject_CallMethod(module, "notice", "s", text) : NULL;
        Py_XDECREF(module);
        Py_XDECREF(done);
        if (!done)
            return -1;
    }
    return 0;
}

/* Move the blocks of donated inputs to their outputs where nobody else uses them, and mark the inputs deleted. */
static void take_blocks(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        Array *output = donation_target(call, i);
        if (!output || call->moved[i] || why_kept(call, i, output))
            continue;
        call->taken[i] = output;
        output->data = call->from[i];
        ((Array *)call->inputs[i].leaf)->data = NULL;
    }
}

/* After a failure before the first step: the inputs have their blocks back. Later they may be half of what they become. */
static void give_back_blocks(struct call *call)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        if (call->taken[i]) {
            ((Array *)call->inputs[i].leaf)->data = call->taken[i]->data;
            call->taken[i]->data = NULL;
        }
    }
}

static int allocate_outputs(struct call *call)
{
    for (uint32_t j = 0; j < call->plan->n_outputs; j++) {
        Array *output = call->outputs[j];
        if (!output->data && !output->device && array_allocate(output))
            return -1;
        call->to[j] = output->data;
    }
    return 0;
}

/* ---- the call ---- */

/* Add the steps of one profiled call. */
static void add_times(Executable *self, const int64_t *nanoseconds)
{
    size_t n = mlc_program_steps(self->program);

    for (size_t i = 0; self->times && i < n; i++) {
        int64_t *total = &self->times[i], *least = &self->times[n + i];
        *total += nanoseconds[i];
        *least = self->profiled && *least < nanoseconds[i] ? *least : nanoseconds[i];
    }
    self->profiled++;
}

/* Run the program without the GIL. `began` becomes whether it came to its steps. */
static int run_program(struct call *call, bool *began)
{
    Executable *self = call->self;
    struct mlc_context *context = acquire_context();
    if (!context)
        return -1;
    bool distributed = self->program->plan.n_ranks > 0;
    if (distributed && enter_world(context)) {
        release_context(context);
        return -1;
    }
    int64_t *nanoseconds = NULL;
    if (self->times)
        nanoseconds = PyMem_Malloc((mlc_program_steps(self->program) + 1) * sizeof *nanoseconds);
    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_program_profile(self->program, context, call->from, call->symbols, call->to, nanoseconds);
    PyEval_RestoreThread(state);
    if (nanoseconds && !status)
        add_times(self, nanoseconds);
    PyMem_Free(nanoseconds);
    if (distributed)
        leave_world(context);
    if (status == -ENOMEM || status == -ENODEV || (status == -EIO && !distributed) || status == -ENOEXEC ||
        status == -ENOTRECOVERABLE)
        device_fail(status, mlc_context_error(context));
    else if (status && !PyErr_Occurred()) /* -EINTR: a signal handler's exception is there */
        fail(distributed ? "DistributedError" : "MlcError", "%s", mlc_context_error(context));
    *began = mlc_context_began(context);
    release_context(context);
    return status ? -1 : 0;
}

static int perform_in(struct call *call, bool known)
{
    bool began = false;

    if (see_inputs(call) || (known && !call->plan->n_symbols ? 0 : check_inputs(call)) || make_outputs(call))
        return -1;
    if (move_inputs(call) || warn_of_copies(call))
        goto failed;
    take_blocks(call);
    if ((call->plan->n_devices && fill_devices(call)) || allocate_outputs(call) || run_program(call, &began)) {
        if (!began)
            give_back_blocks(call);
        goto failed;
    }
    drop_moved(call);
    return 0;
failed:
    drop_moved(call);
    drop_outputs(call, call->plan->n_outputs);
    return -1;
}

int perform(Executable *self, struct input *inputs, uint32_t n, bool known, Array **outputs)
{
    const struct mlc_plan *plan = &self->program->plan;
    struct call call = {.self = self, .plan = plan, .inputs = inputs, .outputs = outputs};
    void *stack[FRAME_WORDS], **frame = stack;
    size_t words = 3 * (size_t)plan->n_inputs + plan->n_outputs + plan->n_symbols;

    if (n != plan->n_inputs)
        return fail("ArgumentError", "%s: it takes %u inputs, %u were given", plan->name, plan->n_inputs, n);
    if (words > FRAME_WORDS) {
        frame = PyMem_Malloc(words * sizeof *frame);
        if (!frame) {
            PyErr_NoMemory();
            return -1;
        }
    }
    call.from = frame;
    call.to = call.from + plan->n_inputs;
    call.taken = (Array **)(call.to + plan->n_outputs);
    call.moved = call.taken + plan->n_inputs;
    call.symbols = (int64_t *)(call.moved + plan->n_inputs);
    if (plan->n_inputs)
        memset(call.moved, 0, plan->n_inputs * sizeof *call.moved);
    int status = perform_in(&call, known);
    if (frame != stack)
        PyMem_Free(frame);
    return status;
}
