/*
 * The one file that knows CPython: arrays, and compiled functions called with them.
 *
 * Everything here runs with the GIL held but for mlc_program_run; the GIL is the lock of all state in this file. The
 * state is one per process: the allocator of array memory and the contexts that calls run in.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "allocator.h"
#include "mlc.h"
#include "program.h"

_Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "shapes are shared with the runtime");

enum { BF16 = 1 }; /* its dtype code */
enum { SHORT_RANK = 4, FRAME_BYTES = 2048, TEXT_BYTES = 256 };

static struct {
    struct mlc_allocator memory;
    struct mlc_context *pool;   /* the threads; NULL until the first call */
    bool pool_busy;             /* a call runs in it */
    struct mlc_context *single; /* a free context without threads, for calls that find the pool busy */
    PyTypeObject *array_base;
    bool bits_wanted;           /* export bf16 as u16: set only inside array_bits */
} process = {.memory = {.limit = (size_t)1 << 30}};

/* ---- errors ---- */

/* Raise mlc.errors.<class_name> with formatted text. Returns -1. */
static int fail(const char *class_name, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    PyObject *module = PyImport_ImportModule("mlc.errors");
    PyObject *class = module ? PyObject_GetAttrString(module, class_name) : NULL;
    if (class)
        PyErr_SetString(class, text);
    Py_XDECREF(class);
    Py_XDECREF(module);
    return -1;
}

/* Text that is built piece by piece and cut at its end. */
struct text {
    char bytes[TEXT_BYTES];
    int used;
};

static void append(struct text *text, const char *format, ...)
{
    int room = TEXT_BYTES - text->used;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text->bytes + text->used, (size_t)room, format, arguments);
    va_end(arguments);
    text->used += n < room ? n : room - 1;
}

/* A size as Python prints it: 3*batch+1. */
static void append_size(struct text *text, const struct mlc_plan *plan, const struct mlc_size *size)
{
    if (!size->n_terms)
        append(text, "0");
    for (uint32_t t = 0; t < size->n_terms; t++) {
        const struct mlc_term *term = &size->terms[t];
        bool named = term->n_factors && term->coefficient == 1;
        if (t && term->coefficient >= 0)
            append(text, "+");
        if (!named)
            append(text, "%lld", (long long)term->coefficient);
        for (uint32_t f = 0; f < term->n_factors; f++)
            append(text, "%s%s", f || !named ? "*" : "", plan->symbols[term->factors[f]].name);
    }
}

static struct text expected_type(const struct mlc_plan *plan, const struct mlc_type *type)
{
    struct text text = {.used = 0};
    append(&text, "%s[", mlc_dtype_name(type->dtype));
    for (uint32_t axis = 0; axis < type->rank; axis++) {
        append(&text, axis ? "," : "");
        append_size(&text, plan, &plan->sizes[type->shape[axis]]);
    }
    append(&text, "]");
    return text;
}

static struct text actual_type(uint32_t dtype, int rank, const Py_ssize_t *shape)
{
    struct text text = {.used = 0};
    append(&text, "%s[", mlc_dtype_name(dtype));
    for (int axis = 0; axis < rank; axis++)
        append(&text, axis ? ",%lld" : "%lld", (long long)shape[axis]);
    append(&text, "]");
    return text;
}

/* ---- arrays ---- */

/*
 * An array owns its block, or borrows the memory of `lender`. `pins` counts what must not see the memory change or go:
 * exports through the buffer protocol, running calls, compiled functions that hold it as a constant.
 */
typedef struct {
    PyObject_HEAD
    void *data; /* NULL once it was donated */
    Py_ssize_t nbytes;
    PyObject *weak_references;
    Py_buffer *lender; /* NULL for an owned block */
    int pins;
    uint8_t dtype, rank;
    Py_ssize_t *shape; /* `dimensions` where they fit */
    Py_ssize_t dimensions[SHORT_RANK];
} Array;

/* A new array of `type` without memory; its bytes are `nbytes`. NULL with an exception set. */
static Array *array_shell(PyTypeObject *type, uint32_t dtype, int rank, const Py_ssize_t *shape, Py_ssize_t nbytes)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Array *array = (Array *)allocate(type, 0);
    if (!array)
        return NULL;
    array->shape = array->dimensions;
    if (rank > SHORT_RANK) {
        array->shape = PyMem_Malloc((size_t)rank * sizeof *array->shape);
        if (!array->shape) {
            Py_DECREF(array);
            PyErr_NoMemory();
            return NULL;
        }
    }
    if (rank)
        memcpy(array->shape, shape, (size_t)rank * sizeof *shape);
    array->rank = (uint8_t)rank;
    array->dtype = (uint8_t)dtype;
    array->nbytes = nbytes;
    return array;
}

/* Give `array` its own uninitialised block. */
static int array_allocate(Array *array)
{
    array->data = mlc_allocator_take(&process.memory, (size_t)array->nbytes);
    if (array->data)
        return 0;
    struct text type = actual_type(array->dtype, array->rank, array->shape);
    PyErr_Format(PyExc_MemoryError, "out of memory: an array %s takes %zd bytes", type.bytes, array->nbytes);
    return -1;
}

static void array_dealloc(PyObject *self)
{
    Array *array = (Array *)self;
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    if (array->weak_references)
        PyObject_ClearWeakRefs(self);
    if (array->lender) {
        PyBuffer_Release(array->lender);
        PyMem_Free(array->lender);
    } else if (array->data) {
        mlc_allocator_give(&process.memory, array->data, (size_t)array->nbytes);
    }
    if (array->shape != array->dimensions)
        PyMem_Free(array->shape);
    release(self);
    Py_DECREF(type);
}

static int check_alive(const Array *array)
{
    if (array->data)
        return 0;
    struct text type = actual_type(array->dtype, array->rank, array->shape);
    return fail("DeletedError", "this array (%s) was donated to a call, which took over its memory", type.bytes);
}

/* struct module's format letters, in the order of the dtypes. bf16 has none; its bits are 'H'. */
static const char *const FORMATS[MLC_N_DTYPES] = {"e", "H", "f", "d", "b", "h", "i", "q", "B", "H", "I", "Q", "?"};

/* Export the memory, read-only, and pin it. */
static int array_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Array *array = (Array *)self;

    view->obj = NULL;
    if (check_alive(array))
        return -1;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "mlc arrays are read-only");
        return -1;
    }
    if ((flags & PyBUF_FORMAT) && array->dtype == BF16 && !process.bits_wanted) {
        PyErr_SetString(PyExc_BufferError, "the buffer protocol has no letter for bf16");
        return -1;
    }
    Py_ssize_t itemsize = (Py_ssize_t)mlc_dtype_bytes(array->dtype);
    Py_ssize_t *strides = PyMem_Malloc(((size_t)array->rank + 1) * sizeof *strides);
    if (!strides) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t stride = itemsize;
    for (int axis = array->rank - 1; axis >= 0; axis--) {
        strides[axis] = stride;
        stride *= array->shape[axis];
    }
    bool shaped = (flags & PyBUF_ND) == PyBUF_ND, strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
    *view = (Py_buffer){
        .buf = array->data, .obj = Py_NewRef(self), .len = array->nbytes, .itemsize = itemsize, .readonly = 1,
        .ndim = array->rank, .format = flags & PyBUF_FORMAT ? (char *)FORMATS[array->dtype] : NULL,
        .shape = shaped ? array->shape : NULL, .strides = strided ? strides : NULL, .internal = strides,
    };
    array->pins++;
    return 0;
}

static void array_release_buffer(PyObject *self, Py_buffer *view)
{
    ((Array *)self)->pins--;
    PyMem_Free(view->internal);
}

static PyObject *array_shape(PyObject *self, void *unused)
{
    Array *array = (Array *)self;
    PyObject *shape = PyTuple_New(array->rank);
    (void)unused;

    for (int axis = 0; shape && axis < array->rank; axis++) {
        PyObject *extent = PyLong_FromSsize_t(array->shape[axis]);
        if (!extent || PyTuple_SetItem(shape, axis, extent) < 0)
            Py_CLEAR(shape);
    }
    return shape;
}

static PyObject *array_dtype_name(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(mlc_dtype_name(((Array *)self)->dtype));
}

static PyObject *array_nbytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(((Array *)self)->nbytes);
}

static PyObject *array_ndim(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((Array *)self)->rank);
}

static PyObject *array_pinned(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((Array *)self)->pins > 0 || ((Array *)self)->lender);
}

static PyObject *array_is_deleted(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(!((Array *)self)->data);
}

static PyObject *array_address(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_alive((Array *)self) ? NULL : PyLong_FromVoidPtr(((Array *)self)->data);
}

/* NumPy asks for the buffer before __array__, and would take bf16 for u16: so only who asks for bits gets them. */
static PyObject *array_bits(PyObject *self, PyObject *unused)
{
    (void)unused;
    process.bits_wanted = true;
    PyObject *view = PyMemoryView_FromObject(self);
    process.bits_wanted = false;
    return view;
}

static PyMethodDef array_methods[] = {
    {"_bits", array_bits, METH_NOARGS, "A read-only memoryview; of bf16 its bits as unsigned integers."},
    {"is_deleted", array_is_deleted, METH_NOARGS, "Whether the array was donated to a call, which took over its memory."},
    {"_address", array_address, METH_NOARGS, "The address of the first element."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef array_properties[] = {
    {"shape", array_shape, NULL, "The extents, a tuple of ints.", NULL},
    {"dtype_name", array_dtype_name, NULL, "The name of the element type, as mlc prints it.", NULL},
    {"nbytes", array_nbytes, NULL, "Bytes of all elements.", NULL},
    {"ndim", array_ndim, NULL, "The number of axes.", NULL},
    {"pinned", array_pinned, NULL, "Whether the memory is exported, borrowed or in use, so that donation copies.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef array_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Array, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, "Memory of an mlc array: element type, shape, an aligned block. Made by the functions of this module."},
    {Py_tp_dealloc, array_dealloc},
    {Py_tp_methods, array_methods},
    {Py_tp_getset, array_properties},
    {Py_tp_members, array_members},
    {Py_bf_getbuffer, array_get_buffer},
    {Py_bf_releasebuffer, array_release_buffer},
    {0, NULL},
};

static PyType_Spec array_spec = {
    .name = "mlc.runtime._array.ArrayBase",
    .basicsize = sizeof(Array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = array_slots,
};

static bool is_array(PyObject *object)
{
    return PyObject_TypeCheck(object, process.array_base);
}

/* ---- foreign memory ---- */

/* The dtype of a buffer's elements, or -1. 'l' is 4 or 8 bytes, so the item size decides the width. */
static int buffer_dtype(const Py_buffer *view)
{
    static const struct {
        const char *letters;
        int dtypes[9]; /* by item size */
    } kinds[] = {
        {"efd", {[2] = 1, [4] = 3, [8] = 4}},
        {"bhilqn", {[1] = 5, [2] = 6, [4] = 7, [8] = 8}},
        {"BHILQN", {[1] = 9, [2] = 10, [4] = 11, [8] = 12}},
        {"?", {[1] = 13}},
    }; /* one more than the dtype's code: 0 is none */
    const char *format = view->format ? view->format : "B";

    if (*format == '@' || *format == '=' || *format == '<')
        format++;
    if (!format[0] || format[1] || view->itemsize > 8 || view->itemsize < 1)
        return -1;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strchr(kinds[k].letters, *format))
            return kinds[k].dtypes[view->itemsize] - 1;
    return -1;
}

/* bf16 has no format letter, so NumPy does not export such arrays: take their bits instead. New reference or NULL. */
static PyObject *bf16_bits(PyObject *object)
{
    PyObject *dtype = PyObject_GetAttrString(object, "dtype");
    PyObject *name = dtype ? PyObject_GetAttrString(dtype, "name") : NULL;
    PyObject *bits = NULL;

    if (name && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "bfloat16") == 0)
        bits = PyObject_CallMethod(object, "view", "s", "uint16");
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    PyErr_Clear();
    return bits;
}

/* Memory that a caller lends for one call; `copy` is a contiguous, aligned copy where the memory itself is not. */
struct loan {
    Py_buffer view;
    int dtype;
    void *copy;
};

static void loan_return(struct loan *loan)
{
    if (loan->copy)
        mlc_allocator_give(&process.memory, loan->copy, (size_t)loan->view.len);
    PyBuffer_Release(&loan->view);
}

/* Fill in `loan` from any object with a buffer; -1 (no exception set) where it has none that mlc can read. */
static int loan_take(struct loan *loan, PyObject *object)
{
    PyObject *bits = NULL;

    loan->copy = NULL;
    if (!PyObject_CheckBuffer(object))
        return -1;
    if (PyObject_GetBuffer(object, &loan->view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();
        bits = bf16_bits(object);
        int status = bits ? PyObject_GetBuffer(bits, &loan->view, PyBUF_FULL_RO) : -1;
        Py_XDECREF(bits);
        if (status < 0) {
            PyErr_Clear();
            return -1;
        }
    }
    loan->dtype = bits ? BF16 : buffer_dtype(&loan->view);
    if (loan->dtype >= 0 && loan->view.ndim <= MLC_MAX_RANK)
        return 0;
    PyBuffer_Release(&loan->view);
    return -1;
}

/* Make the memory contiguous and aligned to its elements, by a copy where it is not. */
static int loan_straighten(struct loan *loan)
{
    if (PyBuffer_IsContiguous(&loan->view, 'C') && (uintptr_t)loan->view.buf % (uintptr_t)loan->view.itemsize == 0)
        return 0;
    loan->copy = mlc_allocator_take(&process.memory, (size_t)loan->view.len);
    if (!loan->copy) {
        PyErr_NoMemory();
        return -1;
    }
    return PyBuffer_ToContiguous(loan->copy, &loan->view, loan->view.len, 'C');
}

static void *loan_data(const struct loan *loan)
{
    return loan->copy ? loan->copy : loan->view.buf;
}

/* An array over the memory that `loan` holds, which it takes over; or NULL with an exception set. */
static Array *borrow(PyTypeObject *type, struct loan *loan)
{
    Array *array = array_shell(type, (uint32_t)loan->dtype, loan->view.ndim, loan->view.shape, loan->view.len);
    if (!array)
        return NULL;
    array->lender = PyMem_Malloc(sizeof *array->lender);
    if (!array->lender) {
        Py_DECREF(array);
        PyErr_NoMemory();
        return NULL;
    }
    *array->lender = loan->view;
    /* views of plain bytes point into themselves */
    if (loan->view.shape == &loan->view.len)
        array->lender->shape = &array->lender->len;
    if (loan->view.strides == &loan->view.itemsize)
        array->lender->strides = &array->lender->itemsize;
    array->data = loan->view.buf;
    return array;
}

static Array *copy_of(PyTypeObject *type, struct loan *loan)
{
    Array *array = array_shell(type, (uint32_t)loan->dtype, loan->view.ndim, loan->view.shape, loan->view.len);
    if (!array)
        return NULL;
    if (array_allocate(array) || PyBuffer_ToContiguous(array->data, &loan->view, loan->view.len, 'C')) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

static PyObject *from_buffer(PyObject *module, PyObject *arguments)
{
    PyTypeObject *type;
    PyObject *object;
    int copies;
    struct loan loan;
    Array *array = NULL;
    (void)module;

    if (!PyArg_ParseTuple(arguments, "O!Op", &PyType_Type, &type, &object, &copies))
        return NULL;
    if (!PyType_IsSubtype(type, process.array_base)) {
        PyErr_SetString(PyExc_TypeError, "from_buffer: the type is no ArrayBase");
        return NULL;
    }
    if (loan_take(&loan, object)) {
        PyErr_SetString(PyExc_TypeError, "from_buffer: no buffer with elements that mlc has");
        return NULL;
    }
    bool straight = PyBuffer_IsContiguous(&loan.view, 'C') && (uintptr_t)loan.view.buf % (uintptr_t)loan.view.itemsize == 0;
    if (!copies && !straight)
        PyErr_SetString(PyExc_ValueError, "from_buffer: the memory is not contiguous or not aligned; it needs a copy");
    else
        array = copies ? copy_of(type, &loan) : borrow(type, &loan);
    if (!array || copies)
        loan_return(&loan);
    return (PyObject *)array;
}

/* ---- contexts ---- */

/* The pool where it is free, else a context without threads. NULL with an exception set. */
static struct mlc_context *acquire_context(void)
{
    struct mlc_context *context = NULL;

    if (!process.pool_busy) {
        if (!process.pool && mlc_context_create(0, &process.pool)) {
            PyErr_NoMemory();
            return NULL;
        }
        process.pool_busy = true;
        return process.pool;
    }
    context = process.single;
    process.single = NULL;
    if (!context && mlc_context_create(1, &context))
        PyErr_NoMemory();
    return context;
}

static void release_context(struct mlc_context *context)
{
    if (context == process.pool)
        process.pool_busy = false;
    else if (!process.single)
        process.single = context;
    else
        mlc_context_destroy(context);
}

static PyObject *set_num_threads(PyObject *module, PyObject *argument)
{
    long threads = PyLong_AsLong(argument);
    struct mlc_context *context = NULL;
    (void)module;

    if (threads == -1 && PyErr_Occurred())
        return NULL;
    if (process.pool_busy) {
        fail("MlcError", "set_num_threads: a call is running");
        return NULL;
    }
    if (threads < 0 || threads > 1024 || mlc_context_create((int)threads, &context)) {
        fail("ArgumentError", "set_num_threads: %ld is not 0 (the default) or a number of threads up to 1024", threads);
        return NULL;
    }
    mlc_context_destroy(process.pool);
    process.pool = context;
    Py_RETURN_NONE;
}

static PyObject *num_threads(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (!process.pool && mlc_context_create(0, &process.pool))
        return PyErr_NoMemory();
    return PyLong_FromLong(mlc_context_threads(process.pool));
}

/* In a child after fork: what ran in the pool belongs to a thread that is not here; leave that context alone. */
static PyObject *after_fork(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (process.pool_busy)
        process.pool = NULL;
    process.pool_busy = false;
    Py_RETURN_NONE;
}

/* ---- compiled functions ---- */

/* A program with the Python objects that its memory belongs to. */
typedef struct {
    PyObject_HEAD
    struct mlc_program *program;
    PyObject *constants; /* tuple of pinned arrays */
    PyObject *keep_alive;
    PyTypeObject *array_type;
    size_t frame_bytes; /* of one call's tables */
    int64_t *times;     /* per step the nanoseconds of all profiled calls, then the least of one; NULL: not profiled */
    int64_t profiled;   /* calls in `times` */
} Executable;

/* One call. The tables lie in one frame; a loan is only filled in where the input's array is NULL. */
struct call {
    Executable *self;
    const struct mlc_plan *plan;
    PyObject *leaves; /* tuple */
    int64_t *symbols;
    void **inputs, **outputs;
    Array **arrays;  /* per input: the pinned array, or NULL for lent memory */
    Array **taken;   /* per input: the new owner of the block, where the call takes it over */
    struct loan *loans;
    uint32_t n_seen; /* inputs to unpin and return */
};

/* What an input looks like, wherever it comes from. */
struct operand {
    uint32_t dtype;
    int rank;
    const Py_ssize_t *shape;
};

static struct operand operand_of(const struct call *call, uint32_t i)
{
    const Array *array = call->arrays[i];
    if (array)
        return (struct operand){array->dtype, array->rank, array->shape};
    const struct loan *loan = &call->loans[i];
    return (struct operand){(uint32_t)loan->dtype, loan->view.ndim, loan->view.shape};
}

/* Raise for input i: what was expected and what came. */
static int mismatch(const struct call *call, uint32_t i, const char *class_name, const char *why)
{
    const struct mlc_value *value = &call->plan->inputs[i];
    struct operand operand = operand_of(call, i);
    struct text expected = expected_type(call->plan, &value->type);
    struct text actual = actual_type(operand.dtype, operand.rank, operand.shape);
    return fail(class_name, "%s: input %s: expected %s, got %s%s", call->plan->name, value->name, expected.bytes,
                 actual.bytes, why);
}

/* Numbers stand for arrays without axes. Writes the element to `data`; 1 where `leaf` is no number of a fitting kind. */
static int scalar_element(PyObject *leaf, const struct mlc_type *type, void *data)
{
    const char *dtype = mlc_dtype_name(type->dtype);
    bool is_integer = PyLong_Check(leaf), is_float = PyFloat_Check(leaf), is_bool = PyBool_Check(leaf);
    uint32_t bytes = mlc_dtype_bytes(type->dtype);

    if (type->rank || (!is_integer && !is_float))
        return 1;
    if (dtype[0] == 'f' && bytes >= 4) {
        double number = PyFloat_AsDouble(leaf);
        float single = (float)number;
        memcpy(data, bytes == 8 ? (void *)&number : (void *)&single, bytes);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (strcmp(dtype, "bool") == 0 ? !is_bool : !is_integer || (dtype[0] != 'i' && dtype[0] != 'u'))
        return 1;
    bool is_unsigned = dtype[0] == 'u';
    uint64_t bits = is_unsigned ? PyLong_AsUnsignedLongLong(leaf) : (uint64_t)PyLong_AsLongLong(leaf);
    if (PyErr_Occurred())
        return -1;
    unsigned shift = 64 - 8 * bytes;
    int64_t narrowed = is_unsigned ? (int64_t)(bits << shift >> shift) : (int64_t)(bits << shift) >> shift;
    if ((uint64_t)narrowed != bits) {
        PyErr_Format(PyExc_OverflowError, "%S does not fit %s", leaf, dtype);
        return -1;
    }
    memcpy(data, &bits, bytes); /* little-endian, as everything here */
    return 0;
}

/* Make an array of the number `leaf` and hold it as a loan of its own memory. */
static int see_scalar(struct call *call, uint32_t i, PyObject *leaf)
{
    const struct mlc_value *value = &call->plan->inputs[i];
    uint64_t element = 0;
    int status = scalar_element(leaf, &value->type, &element);

    if (status < 0)
        return -1;
    if (status > 0) {
        struct text expected = expected_type(call->plan, &value->type);
        PyObject *type_name = PyObject_GetAttrString((PyObject *)Py_TYPE(leaf), "__name__");
        PyObject *name = type_name ? PyUnicode_AsUTF8String(type_name) : NULL;
        if (name)
            fail("ArgumentError", "%s: input %s: expected %s, got an object of type %s", call->plan->name, value->name,
                  expected.bytes, PyBytes_AsString(name));
        Py_XDECREF(name);
        Py_XDECREF(type_name);
        return -1;
    }
    Array *array = array_shell(call->self->array_type, value->type.dtype, 0, NULL, mlc_dtype_bytes(value->type.dtype));
    if (!array)
        return -1;
    status = array_allocate(array);
    if (!status) {
        memcpy(array->data, &element, (size_t)array->nbytes);
        status = PyObject_GetBuffer((PyObject *)array, &call->loans[i].view, PyBUF_FULL_RO);
        call->loans[i].dtype = array->dtype;
        call->loans[i].copy = NULL;
    }
    Py_DECREF(array);
    return status;
}

/* Take hold of input i: pin the array or borrow the memory. */
static int see_input(struct call *call, uint32_t i, PyObject *leaf)
{
    call->taken[i] = NULL;
    call->arrays[i] = NULL;
    if (is_array(leaf)) {
        Array *array = (Array *)leaf;
        if (!array->data) {
            struct text type = actual_type(array->dtype, array->rank, array->shape);
            return fail("DeletedError", "%s: input %s: this array (%s) was donated to a call, which took over its memory",
                         call->plan->name, call->plan->inputs[i].name, type.bytes);
        }
        array->pins++;
        call->arrays[i] = array;
        call->inputs[i] = array->data;
        call->n_seen++;
        return 0;
    }
    if (loan_take(&call->loans[i], leaf) && see_scalar(call, i, leaf))
        return -1;
    call->n_seen++;
    if (loan_straighten(&call->loans[i]))
        return -1;
    call->inputs[i] = loan_data(&call->loans[i]);
    return 0;
}

static int see_inputs(struct call *call)
{
    uint32_t n = (uint32_t)PyTuple_Size(call->leaves);

    if (n != call->plan->n_inputs)
        return fail("ArgumentError", "%s: it takes %u inputs, %u were given", call->plan->name, call->plan->n_inputs, n);
    for (uint32_t i = 0; i < n; i++)
        if (see_input(call, i, PyTuple_GetItem(call->leaves, i)))
            return -1;
    return 0;
}

/* Read the symbols from the shapes and check them against their bounds. */
static int bind_symbols(struct call *call)
{
    for (uint32_t s = 0; s < call->plan->n_symbols; s++) {
        const struct mlc_symbol *symbol = &call->plan->symbols[s];
        int64_t value = operand_of(call, symbol->input).shape[symbol->axis];
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

static int check_kind(const struct call *call, uint32_t i)
{
    const struct mlc_type *type = &call->plan->inputs[i].type;
    struct operand operand = operand_of(call, i);

    if (operand.dtype != type->dtype)
        return mismatch(call, i, "DTypeError", "");
    if (operand.rank != (int)type->rank)
        return mismatch(call, i, "ShapeError", "; the number of axes differs");
    return 0;
}

static int check_shape(const struct call *call, uint32_t i)
{
    const struct mlc_type *type = &call->plan->inputs[i].type;
    struct operand operand = operand_of(call, i);

    for (uint32_t axis = 0; axis < type->rank; axis++) {
        const struct mlc_size *size = &call->plan->sizes[type->shape[axis]];
        int64_t extent = 0;
        if (!mlc_size_evaluate(size, call->symbols, &extent) || extent != operand.shape[axis]) {
            char why[96];
            snprintf(why, sizeof why, "; axis %u has %lld, not %lld", axis, (long long)operand.shape[axis], (long long)extent);
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
    return array_shell(call->self->array_type, output->type.dtype, (int)output->type.rank, shape, total);
}

/* New arrays for all outputs, still without memory; a list. */
static PyObject *make_outputs(struct call *call)
{
    PyObject *outputs = PyList_New(call->plan->n_outputs);

    for (uint32_t j = 0; outputs && j < call->plan->n_outputs; j++) {
        Array *array = output_shell(call, j);
        if (!array || PyList_SetItem(outputs, j, (PyObject *)array) < 0)
            Py_CLEAR(outputs);
    }
    return outputs;
}

/* Why the memory of donated input i may not become the output's; NULL where it may. */
static const char *why_kept(const struct call *call, uint32_t i, const Array *output)
{
    const Array *array = call->arrays[i];

    if (!array)
        return "its memory is lent (pass an mlc array)";
    if (array->lender)
        return "its memory is borrowed";
    if (array->pins > 1)
        return "it is in use elsewhere (exported to NumPy or DLPack, passed twice, or held by another call)";
    return array->nbytes != output->nbytes ? "its size is not the output's" : NULL;
}

static Array *donation_target(const struct call *call, uint32_t i, PyObject *outputs)
{
    int32_t j = call->plan->inputs[i].donated_to;
    return j < 0 ? NULL : (Array *)PyList_GetItem(outputs, j);
}

/* Say which donated inputs will be copied. Warnings run Python code, so nothing is decided here. */
static int warn_of_copies(const struct call *call, PyObject *outputs)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        const Array *output = donation_target(call, i, outputs);
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
static void take_blocks(struct call *call, PyObject *outputs)
{
    for (uint32_t i = 0; i < call->plan->n_inputs; i++) {
        Array *output = donation_target(call, i, outputs);
        if (!output || why_kept(call, i, output))
            continue;
        call->taken[i] = output;
        output->data = call->arrays[i]->data;
        call->arrays[i]->data = NULL;
    }
}

/* After a failure: the inputs have their blocks back. */
static void give_back_blocks(struct call *call)
{
    for (uint32_t i = 0; i < call->n_seen; i++) {
        if (call->taken[i]) {
            call->arrays[i]->data = call->taken[i]->data;
            call->taken[i]->data = NULL;
        }
    }
}

static int allocate_outputs(struct call *call, PyObject *outputs)
{
    for (uint32_t j = 0; j < call->plan->n_outputs; j++) {
        Array *output = (Array *)PyList_GetItem(outputs, j);
        if (!output->data && array_allocate(output))
            return -1;
        call->outputs[j] = output->data;
    }
    return 0;
}

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

/* Run the program without the GIL. */
static int run_program(struct call *call)
{
    Executable *self = call->self;
    struct mlc_context *context = acquire_context();
    if (!context)
        return -1;
    int64_t *nanoseconds = NULL;
    if (self->times)
        nanoseconds = PyMem_Malloc((mlc_program_steps(self->program) + 1) * sizeof *nanoseconds);
    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_program_profile(self->program, context, call->inputs, call->symbols, call->outputs, nanoseconds);
    PyEval_RestoreThread(state);
    if (nanoseconds && !status)
        add_times(self, nanoseconds);
    PyMem_Free(nanoseconds);
    if (status == -ENOMEM)
        PyErr_SetString(PyExc_MemoryError, mlc_context_error(context));
    else if (status)
        fail("MlcError", "%s", mlc_context_error(context));
    release_context(context);
    return status;
}

/* Fill in the outputs of a checked call; NULL with an exception set, and then the inputs are as before. */
static PyObject *perform(struct call *call)
{
    if (see_inputs(call) || check_inputs(call))
        return NULL;
    PyObject *outputs = make_outputs(call);
    if (!outputs || warn_of_copies(call, outputs))
        goto failed;
    take_blocks(call, outputs);
    if (allocate_outputs(call, outputs) || run_program(call)) {
        give_back_blocks(call);
        goto failed;
    }
    return outputs;
failed:
    Py_XDECREF(outputs);
    return NULL;
}

static void finish(struct call *call)
{
    for (uint32_t i = 0; i < call->n_seen; i++) {
        if (call->arrays[i])
            call->arrays[i]->pins--;
        else
            loan_return(&call->loans[i]);
    }
}

/* Cut the frame into the tables of a call. Loans, the largest items, come first. */
static void lay_out(struct call *call, char *frame)
{
    const struct mlc_plan *plan = call->plan;
    call->loans = (struct loan *)frame;
    call->symbols = (int64_t *)(call->loans + plan->n_inputs);
    call->inputs = (void **)(call->symbols + plan->n_symbols);
    call->outputs = call->inputs + plan->n_inputs;
    call->arrays = (Array **)(call->outputs + plan->n_outputs);
    call->taken = call->arrays + plan->n_inputs;
}

static size_t frame_bytes(const struct mlc_plan *plan)
{
    return plan->n_inputs * (sizeof(struct loan) + 3 * sizeof(void *)) + plan->n_symbols * sizeof(int64_t) +
           plan->n_outputs * sizeof(void *);
}

static PyObject *executable_call(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    Executable *self = (Executable *)object;
    struct call call = {.self = self, .plan = &self->program->plan};
    char stack[FRAME_BYTES] __attribute__((aligned(16)));
    char *frame = stack;

    if (keywords || PyTuple_Size(arguments) != 1) {
        PyErr_SetString(PyExc_TypeError, "an Executable takes one argument: a list or tuple of leaves");
        return NULL;
    }
    call.leaves = PySequence_Tuple(PyTuple_GetItem(arguments, 0));
    if (!call.leaves)
        return NULL;
    if (self->frame_bytes > sizeof stack)
        frame = PyMem_Malloc(self->frame_bytes);
    PyObject *outputs = NULL;
    if (frame) {
        lay_out(&call, frame);
        outputs = perform(&call);
        finish(&call);
    } else {
        PyErr_NoMemory();
    }
    if (frame != stack)
        PyMem_Free(frame);
    Py_DECREF(call.leaves);
    return outputs;
}

static void executable_dealloc(PyObject *object)
{
    Executable *self = (Executable *)object;
    PyTypeObject *type = Py_TYPE(object);

    mlc_program_destroy(self->program);
    PyMem_Free(self->times);
    for (Py_ssize_t i = 0; self->constants && i < PyTuple_Size(self->constants); i++) {
        Array *constant = (Array *)PyTuple_GetItem(self->constants, i);
        if (constant)
            constant->pins--;
    }
    Py_XDECREF(self->constants);
    Py_XDECREF(self->keep_alive);
    Py_XDECREF((PyObject *)self->array_type);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* `array` itself where its memory is aligned as constants are, else a copy. New reference. */
static Array *aligned(PyTypeObject *type, Array *array)
{
    if (check_alive(array))
        return NULL;
    if ((uintptr_t)array->data % MLC_ALIGNMENT == 0)
        return (Array *)Py_NewRef((PyObject *)array);
    Array *copy = array_shell(type, array->dtype, array->rank, array->shape, array->nbytes);
    if (!copy || array_allocate(copy)) {
        Py_XDECREF((PyObject *)copy);
        return NULL;
    }
    memcpy(copy->data, array->data, (size_t)array->nbytes);
    return copy;
}

/* The constant as an aligned array: itself where it is one, else a copy. New reference. */
static Array *constant_array(PyTypeObject *type, PyObject *object)
{
    struct loan loan;

    if (is_array(object))
        return aligned(type, (Array *)object);
    if (loan_take(&loan, object)) {
        fail("ArgumentError", "a constant is no array");
        return NULL;
    }
    Array *array = copy_of(type, &loan);
    loan_return(&loan);
    return array;
}

/* Pin the constants in self->constants and collect their addresses. */
static int hold_constants(Executable *self, PyObject *constants, const void **addresses)
{
    Py_ssize_t n = PyTuple_Size(constants);

    self->constants = PyTuple_New(n);
    for (Py_ssize_t i = 0; self->constants && i < n; i++) {
        Array *array = constant_array(self->array_type, PyTuple_GetItem(constants, i));
        if (!array || PyTuple_SetItem(self->constants, i, (PyObject *)array) < 0)
            return -1;
        array->pins++;
        addresses[i] = array->data;
    }
    return self->constants ? 0 : -1;
}

static int read_addresses(PyObject *kernels, mlc_kernel *addresses)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(kernels); i++) {
        void *address = PyLong_AsVoidPtr(PyTuple_GetItem(kernels, i));
        if (!address && PyErr_Occurred())
            return -1;
        memcpy(&addresses[i], &address, sizeof address);
    }
    return 0;
}

/* Each constant must have the bytes that the Plan says. */
static int check_constants(const Executable *self)
{
    const struct mlc_plan *plan = &self->program->plan;

    for (uint32_t i = 0; i < plan->n_constants; i++) {
        const Array *array = (const Array *)PyTuple_GetItem(self->constants, i);
        const struct mlc_type *type = &plan->constants[i].type;
        int64_t bytes = -1;
        if (array->dtype == type->dtype && mlc_static_bytes(plan, type, &bytes) && bytes == array->nbytes)
            continue;
        struct text expected = expected_type(plan, type), actual = actual_type(array->dtype, array->rank, array->shape);
        return fail("ArgumentError", "%s: constant %s: expected %s, got %s", plan->name, plan->constants[i].name,
                     expected.bytes, actual.bytes);
    }
    return 0;
}

static int make_program(Executable *self, const char *plan, Py_ssize_t plan_bytes, PyObject *kernels, PyObject *constants)
{
    size_t n_kernels = (size_t)PyTuple_Size(kernels), n_constants = (size_t)PyTuple_Size(constants);
    mlc_kernel *addresses = PyMem_Malloc((n_kernels + 1) * sizeof *addresses);
    const void **data = PyMem_Malloc((n_constants + 1) * sizeof *data);
    char text[512] = "";
    int status = -1;

    if (!addresses || !data) {
        PyErr_NoMemory();
    } else if (!read_addresses(kernels, addresses) && !hold_constants(self, constants, data)) {
        status = mlc_program_create(plan, (size_t)plan_bytes, addresses, n_kernels, data, n_constants, &self->program,
                                    text, sizeof text);
        if (status)
            fail(status == -EBADMSG || status == -ENOTSUP ? "ParseError" : "ArgumentError", "%s", text);
    }
    PyMem_Free(addresses);
    PyMem_Free((void *)data);
    return status ? -1 : check_constants(self);
}

static PyObject *executable_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"plan_bytes", "kernel_addresses", "constants", "keep_alive", "array_type", NULL};
    const char *plan;
    Py_ssize_t plan_bytes;
    PyObject *kernels, *constants, *keep_alive, *array_type;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y#OOOO", names, &plan, &plan_bytes, &kernels, &constants,
                                     &keep_alive, &array_type))
        return NULL;
    if (!PyType_Check(array_type) || !PyType_IsSubtype((PyTypeObject *)array_type, process.array_base)) {
        PyErr_SetString(PyExc_TypeError, "Executable: array_type is no subclass of ArrayBase");
        return NULL;
    }
    Executable *self = (Executable *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    kernels = PySequence_Tuple(kernels);
    constants = kernels ? PySequence_Tuple(constants) : NULL;
    int status = -1;
    if (self && constants) {
        self->array_type = (PyTypeObject *)Py_NewRef(array_type);
        self->keep_alive = Py_NewRef(keep_alive);
        status = make_program(self, plan, plan_bytes, kernels, constants);
    }
    if (!status)
        self->frame_bytes = frame_bytes(&self->program->plan);
    else
        Py_CLEAR(self);
    Py_XDECREF(constants);
    Py_XDECREF(kernels);
    return (PyObject *)self;
}

static PyObject *start_profile(PyObject *object, PyObject *unused)
{
    Executable *self = (Executable *)object;
    size_t bytes = (2 * mlc_program_steps(self->program) + 1) * sizeof *self->times;
    int64_t *times = PyMem_Malloc(bytes);

    (void)unused;
    if (!times)
        return PyErr_NoMemory();
    memset(times, 0, bytes);
    PyMem_Free(self->times);
    self->times = times;
    self->profiled = 0;
    Py_RETURN_NONE;
}

static PyObject *stop_profile(PyObject *object, PyObject *unused)
{
    Executable *self = (Executable *)object;
    size_t n = self->times ? mlc_program_steps(self->program) : 0;
    PyObject *steps = PyList_New(0);

    (void)unused;
    for (size_t i = 0; steps && i < n; i++) {
        PyObject *step = Py_BuildValue("(LL)", (long long)self->times[i], (long long)self->times[n + i]);
        if (!step || PyList_Append(steps, step))
            Py_CLEAR(steps);
        Py_XDECREF(step);
    }
    PyMem_Free(self->times);
    self->times = NULL;
    return steps ? Py_BuildValue("(LN)", (long long)self->profiled, steps) : NULL;
}

static PyMethodDef executable_methods[] = {
    {"start_profile", start_profile, METH_NOARGS, "From now on measure every step of every call."},
    {"stop_profile", stop_profile, METH_NOARGS,
     "Stop measuring: (calls, [(nanoseconds of all calls, least of one call) of every step of the Plan])."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot executable_slots[] = {
    {Py_tp_doc, "Executable(plan_bytes, kernel_addresses, constants, keep_alive, array_type): a callable compiled "
                "function. Called with a list or tuple of leaves, it returns a list of array_type objects."},
    {Py_tp_new, executable_new},
    {Py_tp_dealloc, executable_dealloc},
    {Py_tp_call, executable_call},
    {Py_tp_methods, executable_methods},
    {0, NULL},
};

static PyType_Spec executable_spec = {
    .name = "mlc.runtime._array.Executable",
    .basicsize = sizeof(Executable),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = executable_slots,
};

/* ---- module ---- */

static PyObject *cached_bytes(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(process.memory.cached);
}

static PyObject *trim(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    mlc_allocator_trim(&process.memory);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"from_buffer", from_buffer, METH_VARARGS, "from_buffer(array_type, buffer, copy): an array of a buffer's elements."},
    {"set_num_threads", set_num_threads, METH_O, "Run later calls on that many threads; 0 for the default."},
    {"num_threads", num_threads, METH_NOARGS, "The number of threads that calls run on."},
    {"cached_bytes", cached_bytes, METH_NOARGS, "Bytes of freed array memory that are kept for new arrays."},
    {"trim", trim, METH_NOARGS, "Return freed array memory to the system."},
    {"_after_fork", after_fork, METH_NOARGS, "Called in a child process after fork."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_array", .m_doc = "Arrays and compiled functions.", .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__array(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *array_base = module ? PyType_FromSpec(&array_spec) : NULL;
    PyObject *executable = array_base ? PyType_FromSpec(&executable_spec) : NULL;

    process.array_base = (PyTypeObject *)array_base; /* lives as long as the process */
    if (!executable || PyModule_AddObjectRef(module, "ArrayBase", array_base) < 0 ||
        PyModule_AddObjectRef(module, "Executable", executable) < 0)
        Py_CLEAR(module);
    Py_XDECREF(executable);
    return module;
}
