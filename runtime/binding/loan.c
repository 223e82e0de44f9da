/* Memory of other libraries: lent for one call, borrowed by an array, or copied into one. */
#include <string.h>

#include "binding.h"

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

void loan_return(struct loan *loan)
{
    if (loan->copy)
        mlc_allocator_give(&process.memory, loan->copy, (size_t)loan->view.len);
    PyBuffer_Release(&loan->view);
}

int loan_take(struct loan *loan, PyObject *object)
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
    loan->dtype = tensor_dtype(object);
    if (loan->dtype < 0)
        loan->dtype = bits ? MLC_BF16 : buffer_dtype(&loan->view);
    if (loan->dtype >= 0 && loan->view.ndim <= MLC_MAX_RANK)
        return 0;
    PyBuffer_Release(&loan->view);
    return -1;
}

int loan_straighten(struct loan *loan)
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

void *loan_data(const struct loan *loan)
{
    return loan->copy ? loan->copy : loan->view.buf;
}

void view_move(Py_buffer *to, const Py_buffer *from)
{
    *to = *from;
    if (from->shape == &from->len)
        to->shape = &to->len;
    if (from->strides == &from->itemsize)
        to->strides = &to->itemsize;
}

Array *array_borrowing(PyTypeObject *type, struct loan *loan)
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
    view_move(array->lender, &loan->view);
    array->data = loan->view.buf;
    return array;
}

Array *array_copying(PyTypeObject *type, const struct loan *loan)
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

PyObject *from_buffer(PyObject *module, PyObject *arguments)
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
        array = copies ? array_copying(type, &loan) : array_borrowing(type, &loan);
    if (!array || copies)
        loan_return(&loan);
    return (PyObject *)array;
}
