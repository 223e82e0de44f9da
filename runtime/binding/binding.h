/*
 * What the files of the binding share. They are the one part of the runtime that knows CPython.
 *
 * Everything here runs with the GIL held but for mlc_program_run; the GIL is the lock of all state. The state is one
 * per process: the allocator of array memory, the contexts that calls run in, what is known of Python types.
 * Functions that return int return 0, or -1 with a Python exception set, unless they say otherwise.
 */
#ifndef MLC_BINDING_H
#define MLC_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>

#include "allocator.h"
#include "mlc.h"
#include "program.h"

_Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "shapes are shared with the runtime");

enum { SHORT_RANK = 4, TEXT_BYTES = 256, MOST_THREADS = 1024 };

struct process {
    struct mlc_allocator memory;
    struct mlc_context *pool;   /* the threads; NULL until the first call */
    bool pool_busy;             /* a call runs in it */
    struct mlc_context *single; /* a free context without threads, for calls that find the pool busy */
    struct mlc_context *other;  /* a free context with as many threads as some limit asked for */
    struct mlc_world *world;    /* that this process has joined, or NULL; mlc.distributed owns it */
    bool world_busy;            /* a call with collectives runs */
    PyTypeObject *array_base;
    PyTypeObject *executable, *tensor, *device;
    bool bits_wanted;           /* export bf16 as u16: set only inside array_bits */
};
extern struct process process;

typedef struct array Array;

/* ---- text.c: errors ---- */

/* Text that is built piece by piece and cut at its end. */
struct text {
    char bytes[TEXT_BYTES];
    int used;
};

/* Raise mlc.errors.<class_name> with formatted text. Returns -1. */
int fail(const char *class_name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A type as the Plan has it, `f32[batch,3]`, and as an array has it. */
struct text expected_type(const struct mlc_plan *plan, const struct mlc_type *type);
struct text actual_type(uint32_t dtype, int rank, const Py_ssize_t *shape);

/* ---- device.c ---- */

/* A device beside the host that this process has opened. `number` tells it from others in signatures, from 1. */
typedef struct {
    PyObject_HEAD
    struct mlc_device *device;
    int number;
} Device;

extern PyType_Spec device_spec;

/* Raise for a negative result of the runtime: MemoryError, TargetError without the device, else DeviceError. -1. */
int device_fail(int status, const char *text);

/*
 * Of the arrays of `device` among arrays[0..n) (some may be NULL): give each without memory a block, and upload from[i]
 * where that is not NULL. Lets go of the GIL.
 */
int device_fill(Device *device, Array *const *arrays, void *const *from, uint32_t n);

/* A new array of the same type in the host's memory. Lets go of the GIL. NULL with an exception set. */
Array *device_download(Array *array);

/* to_device(array, device or None): the array there: itself where it is. */
PyObject *to_device(PyObject *module, PyObject *arguments);

/* ---- array.c ---- */

/*
 * An array owns its block, or borrows the memory of `lender`. `pins` counts what must not see the memory change or go:
 * exports through the buffer protocol, running calls, compiled functions that hold it as a constant.
 */
struct array {
    PyObject_HEAD
    void *data; /* NULL once it was donated; an address of `device` where that is not NULL */
    Device *device; /* whose memory it is, held; NULL for the host's */
    Py_ssize_t nbytes;
    PyObject *weak_references;
    Py_buffer *lender; /* NULL for an owned block */
    int pins;
    uint8_t dtype, rank;
    Py_ssize_t *shape; /* `dimensions` where they fit */
    Py_ssize_t dimensions[SHORT_RANK];
};

extern PyType_Spec array_spec;

static inline bool is_array(PyObject *object)
{
    return PyObject_TypeCheck(object, process.array_base);
}

/* A new array of `type` without memory; its bytes are `nbytes`. NULL with an exception set. */
Array *array_shell(PyTypeObject *type, uint32_t dtype, int rank, const Py_ssize_t *shape, Py_ssize_t nbytes);

/* Give `array`, of the host, its own uninitialised block. */
int array_allocate(Array *array);

/* DeletedError where `array` was donated. */
int check_alive(const Array *array);

/* ---- loan.c: memory of others ---- */

/* Memory that a caller lends; `copy` is a contiguous, aligned copy where the memory itself is not. */
struct loan {
    Py_buffer view;
    int dtype;
    void *copy;
};

/* Fill in `loan` from any object with a buffer; -1 (no exception set) where it has none that mlc can read. */
int loan_take(struct loan *loan, PyObject *object);
void loan_return(struct loan *loan);

/* Make the memory contiguous and aligned to its elements, by a copy where it is not. */
int loan_straighten(struct loan *loan);
void *loan_data(const struct loan *loan);

/* Move a loan (or its view): views of plain bytes point into themselves. */
void view_move(Py_buffer *to, const Py_buffer *from);

/* An array of `type` over the memory that `loan` holds, which it takes over; or with a copy. NULL with an exception. */
Array *array_borrowing(PyTypeObject *type, struct loan *loan);
Array *array_copying(PyTypeObject *type, const struct loan *loan);

PyObject *from_buffer(PyObject *module, PyObject *arguments);

/* ---- dlpack.c ---- */

extern PyType_Spec tensor_spec;

/* The element type of a DLPack tensor that mlc holds, -1 for another object. */
int tensor_dtype(PyObject *object);

PyObject *to_dlpack(PyObject *module, PyObject *arguments);
PyObject *tensor_of(PyObject *module, PyObject *capsule);
PyObject *place_on(PyObject *module, PyObject *arguments);

/* ---- contexts.c ---- */

/* The pool where it is free, else a context without threads. NULL with an exception set. Release it after the call. */
struct mlc_context *acquire_context(void);
void release_context(struct mlc_context *context);

PyObject *set_num_threads(PyObject *module, PyObject *argument);
PyObject *num_threads(PyObject *module, PyObject *unused);
PyObject *limit_threads(PyObject *module, PyObject *argument);
PyObject *after_fork(PyObject *module, PyObject *unused);
PyObject *set_world(PyObject *module, PyObject *argument);

/* Let the collectives of a call in `context` be among the world's ranks. Leave it when the call has ended. */
int enter_world(struct mlc_context *context);
void leave_world(struct mlc_context *context);

/* ---- input.c: the leaves of one call ---- */

enum input_kind { INPUT_ARRAY, INPUT_LOAN, INPUT_NUMBER };

/* One leaf while a call uses it. `dtype` of a number is its Python type's: i64, f32 or bool. */
struct input {
    PyObject *leaf; /* held; arrays are pinned too */
    uint8_t kind, dtype, rank;
    union {
        struct loan loan;
        uint64_t element; /* a number's, once the Plan's type is known */
    };
};

/* Take hold of `leaf`. 1 (no exception set) where it is nothing that a call takes. */
int input_take(struct input *input, PyObject *leaf);
void input_release(struct input *input);
void input_move(struct input *to, const struct input *from);

/* The device that an input's memory is on; NULL for the host. */
static inline Device *input_device(const struct input *input)
{
    return input->kind == INPUT_ARRAY ? ((const Array *)input->leaf)->device : NULL;
}

static inline const Py_ssize_t *input_shape(const struct input *input)
{
    return input->kind == INPUT_ARRAY ? ((const Array *)input->leaf)->shape : input->loan.view.shape;
}

/* ---- executable.c ---- */

/* A program with the Python objects that its memory belongs to. */
typedef struct {
    PyObject_HEAD
    struct mlc_program *program;
    PyObject *constants; /* tuple of pinned arrays */
    PyObject *keep_alive;
    PyTypeObject *array_type;
    PyObject *devices; /* tuple: the Devices of the Plan, in its order */
    int64_t *times;   /* per step the nanoseconds of all profiled calls, then the least of one; NULL: not profiled */
    int64_t profiled; /* calls in `times` */
} Executable;

extern PyType_Spec executable_spec;

/* ---- call.c ---- */

/*
 * Run `self` on `n` inputs, which stay the caller's to release. `known` says that their types were checked before.
 * Writes one new array per output to `outputs`. After a failure the inputs are as before and there are no outputs.
 */
int perform(Executable *self, struct input *inputs, uint32_t n, bool known, Array **outputs);

/* ---- signature.c: trees of arguments ---- */

enum { SHORT_WORDS = 64, SHORT_OBJECTS = 16, SHORT_INPUTS = 8 };

/*
 * What of the arguments of a call decides which code runs - containers, keys, element types and shapes - as words and
 * objects that are equal for equal signatures, and the leaves in order.
 */
struct signature {
    uintptr_t *words;
    PyObject **objects; /* held */
    struct input *inputs;
    uint32_t n_words, n_objects, n_inputs, most_words, most_objects, most_inputs;
    uintptr_t short_words[SHORT_WORDS];
    PyObject *short_objects[SHORT_OBJECTS];
    struct input short_inputs[SHORT_INPUTS];
};

void signature_start(struct signature *signature);
void signature_release(struct signature *signature);

/* Append `tree`. 1 (no exception set) for a leaf that a call does not take, or dict keys that have no order. */
int signature_add_tree(struct signature *signature, PyObject *tree, int depth);

/* Append the first `n` items of the tuple `arguments` as a tuple. Returns as signature_add_tree. */
int signature_add_arguments(struct signature *signature, PyObject *arguments, Py_ssize_t n);

/* Append the device that this thread's calls run on, where it is not the host. */
int signature_add_device(struct signature *signature);
PyObject *default_device(PyObject *module, PyObject *argument);

/* Append an object that is compared by identity or ==, with its hash, and a word. */
int signature_add_object(struct signature *signature, PyObject *object);
int signature_add_word(struct signature *signature, uintptr_t word);

/*
 * Append the arguments of a call some of which are static: `names`, of a function whose positional parameters are called
 * `positional`. Those before the first static one keep their place, the others are taken by name. `key` gives what a
 * static value of an unusual type is compared by. 1 (no exception set) where they do not fit the function.
 */
int signature_add_split(struct signature *signature, PyObject *positional, PyObject *names, PyObject *key,
                        PyObject *arguments, PyObject *named);

uint64_t signature_hash(const struct signature *signature);

PyObject *set_classify(PyObject *module, PyObject *function);
PyObject *forget_kind(PyObject *module, PyObject *kind);

/* ---- recipe.c: trees of results ---- */

/* How to build a tree from its leaves: a node per container and leaf, parents first. */
struct recipe;

/* The recipe of a mlc.tree.TreeDef; NULL with an exception set. */
struct recipe *recipe_of(PyObject *structure);
void recipe_free(struct recipe *recipe);
uint32_t recipe_leaves(const struct recipe *recipe);

/* The tree with these leaves, which it takes over (also where it fails). A new reference or NULL. */
PyObject *recipe_build(const struct recipe *recipe, PyObject **leaves);

/* ---- code.c ---- */

extern PyType_Spec code_spec;

/* ---- function.c ---- */

extern PyType_Spec function_spec;

#endif
