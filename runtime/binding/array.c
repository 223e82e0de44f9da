/* The array type: element type, shape and a block of memory, exported read-only. */
#include <stddef.h>
#include <string.h>

#include "binding.h"

Array *array_shell(PyTypeObject *type, uint32_t dtype, int rank, const Py_ssize_t *shape, Py_ssize_t nbytes)
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

int array_allocate(Array *array)
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
    } else if (array->data && array->device) {
        mlc_device_give(array->device->device, array->data, (size_t)array->nbytes);
    } else if (array->data) {
        mlc_allocator_give(&process.memory, array->data, (size_t)array->nbytes);
    }
    if (array->shape != array->dimensions)
        PyMem_Free(array->shape);
    Py_XDECREF((PyObject *)array->device);
    release(self);
    Py_DECREF(type);
}

int check_alive(const Array *array)
{
    if (array->data)
        return 0;
    struct text type = actual_type(array->dtype, array->rank, array->shape);
    return fail("DeletedError", "this array (%s) was donated to a call, which took over its memory", type.bytes);
}

/* struct module's format letters, in the order of the dtypes. bf16 has none; its bits are 'H'. */
static const char *const FORMATS[MLC_N_DTYPES] = {"e", "H", "f", "d", "b", "h", "i", "q", "B", "H", "I", "Q", "?"};

/* Export a copy of a device's memory: the view holds it. */
static int get_buffer_of_copy(Array *array, Py_buffer *view, int flags)
{
    Array *copy = device_download(array);

    if (!copy)
        return -1;
    int status = PyObject_GetBuffer((PyObject *)copy, view, flags);
    Py_DECREF((PyObject *)copy);
    return status;
}

/* Export the memory, read-only, and pin it. */
static int array_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Array *array = (Array *)self;

    view->obj = NULL;
    if (check_alive(array))
        return -1;
    if (array->device)
        return get_buffer_of_copy(array, view, flags);
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "mlc arrays are read-only");
        return -1;
    }
    if ((flags & PyBUF_FORMAT) && array->dtype == MLC_BF16 && !process.bits_wanted) {
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

static PyObject *array_on(PyObject *self, void *unused)
{
    Array *array = (Array *)self;
    (void)unused;
    return Py_NewRef(array->device ? (PyObject *)array->device : Py_None);
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
    {"on", array_on, NULL, "The Device whose memory it is, None for the host's.", NULL},
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

PyType_Spec array_spec = {
    .name = "mlc.runtime._array.ArrayBase",
    .basicsize = sizeof(Array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = array_slots,
};
