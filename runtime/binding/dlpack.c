/*
 * DLPack: arrays as capsules for other libraries, and theirs as buffers. Both kinds of capsule: the old one, and the
 * versioned one, which can say that memory is read-only. Layouts are dlpack.h's, ABI version 1.
 */
#include <string.h>

#include "binding.h"

enum { DL_CPU = 1, DL_CUDA = 2, DL_READ_ONLY = 1 };

struct dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t rank;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* in elements; no strides: row-major */
    uint64_t byte_offset;
};

struct dl_managed {
    struct dl_tensor tensor;
    void *owner;
    void (*deleter)(struct dl_managed *self);
};

struct dl_versioned {
    uint32_t major, minor;
    void *owner;
    void (*deleter)(struct dl_versioned *self);
    uint64_t flags;
    struct dl_tensor tensor;
};

/* DLPack's type codes: 0 signed, 1 unsigned, 2 float, 4 bfloat, 6 bool; in the order of the dtypes. */
static const struct {
    uint8_t code, bits;
} TYPES[MLC_N_DTYPES] = {{2, 16}, {4, 16}, {2, 32}, {2, 64}, {0, 8},  {0, 16}, {0, 32},
                         {0, 64}, {1, 8},  {1, 16}, {1, 32}, {1, 64}, {6, 8}};

/* ---- out ---- */

/* An exported array: one capsule of either kind, and the sizes. The array is held and pinned. */
struct export {
    union {
        struct dl_managed plain;
        struct dl_versioned versioned;
    };
    Array *array;
    int64_t sizes[]; /* shape, then strides */
};

/* Called by who took the capsule, on any thread. */
static void let_go(struct export *export)
{
    PyGILState_STATE state = PyGILState_Ensure();
    export->array->pins--;
    Py_DECREF((PyObject *)export->array);
    PyMem_Free(export);
    PyGILState_Release(state);
}

static void delete_plain(struct dl_managed *self)
{
    let_go(self->owner);
}

static void delete_versioned(struct dl_versioned *self)
{
    let_go(self->owner);
}

/* A capsule that nobody took keeps its name. */
static void drop_plain(PyObject *capsule)
{
    struct dl_managed *managed = PyCapsule_IsValid(capsule, "dltensor") ? PyCapsule_GetPointer(capsule, "dltensor") : NULL;
    if (managed)
        managed->deleter(managed);
}

static void drop_versioned(PyObject *capsule)
{
    const char *name = "dltensor_versioned";
    struct dl_versioned *managed = PyCapsule_IsValid(capsule, name) ? PyCapsule_GetPointer(capsule, name) : NULL;
    if (managed)
        managed->deleter(managed);
}

static struct dl_tensor describe(struct export *export, const Array *array)
{
    int64_t stride = 1, *strides = export->sizes + array->rank;

    for (int axis = array->rank - 1; axis >= 0; axis--) {
        export->sizes[axis] = array->shape[axis];
        strides[axis] = stride;
        stride *= array->shape[axis];
    }
    return (struct dl_tensor){
        .data = array->data, .device_type = array->device ? DL_CUDA : DL_CPU,
        .device_id = array->device ? array->device->number - 1 : 0, .rank = array->rank, .code = TYPES[array->dtype].code,
        .bits = TYPES[array->dtype].bits, .lanes = 1, .shape = export->sizes, .strides = strides,
    };
}

/* to_dlpack(array, versioned): a capsule of the array's memory, which stays as it is until it is let go. */
PyObject *to_dlpack(PyObject *module, PyObject *arguments)
{
    Array *array;
    int versioned;
    PyObject *capsule;
    (void)module;

    if (!PyArg_ParseTuple(arguments, "O!p", process.array_base, &array, &versioned) || check_alive(array))
        return NULL;
    struct export *export = PyMem_Malloc(sizeof *export + 2 * array->rank * sizeof(int64_t));
    if (!export)
        return PyErr_NoMemory();
    export->array = array;
    struct dl_tensor tensor = describe(export, array);
    if (versioned) {
        export->versioned = (struct dl_versioned){1, 0, export, delete_versioned, DL_READ_ONLY, tensor};
        capsule = PyCapsule_New(&export->versioned, "dltensor_versioned", drop_versioned);
    } else {
        export->plain = (struct dl_managed){tensor, export, delete_plain};
        capsule = PyCapsule_New(&export->plain, "dltensor", drop_plain);
    }
    if (!capsule) {
        PyMem_Free(export);
        return NULL;
    }
    Py_INCREF((PyObject *)array);
    array->pins++;
    return capsule;
}

/* ---- in ---- */

/* A tensor of another library that came in a capsule, readable through the buffer protocol. */
typedef struct {
    PyObject_HEAD
    struct dl_managed *plain; /* one of the two; NULL before the capsule was taken */
    struct dl_versioned *versioned;
    const struct dl_tensor *tensor;
    int dtype;
    Py_ssize_t sizes[2 * MLC_MAX_RANK]; /* shape, then strides in bytes */
} Tensor;

int tensor_dtype(PyObject *object)
{
    return Py_TYPE(object) == process.tensor ? ((Tensor *)object)->dtype : -1;
}

static int refuse(const char *why)
{
    return fail("ArgumentError", "from_dlpack: %s", why);
}

/* Check and describe the tensor that `self` holds. */
static int read_tensor(Tensor *self)
{
    const struct dl_tensor *tensor = self->tensor;

    if (tensor->device_type != DL_CPU && tensor->device_type != DL_CUDA)
        return refuse("the tensor is neither in the memory of the CPU nor of a CUDA device");
    if (tensor->rank < 0 || tensor->rank > MLC_MAX_RANK)
        return refuse("the tensor has more axes than mlc arrays");
    self->dtype = -1;
    for (int i = 0; i < MLC_N_DTYPES && tensor->lanes == 1; i++)
        if (TYPES[i].code == tensor->code && TYPES[i].bits == tensor->bits)
            self->dtype = i;
    if (self->dtype < 0)
        return fail("DTypeError", "from_dlpack: elements of DLPack type %u with %u bits and %u lanes have no mlc type",
                    (unsigned)tensor->code, (unsigned)tensor->bits, (unsigned)tensor->lanes);
    Py_ssize_t stride = (Py_ssize_t)mlc_dtype_bytes((uint32_t)self->dtype), total = stride;
    for (int axis = tensor->rank - 1; axis >= 0; axis--) {
        Py_ssize_t bytes = (Py_ssize_t)mlc_dtype_bytes((uint32_t)self->dtype);
        self->sizes[axis] = tensor->shape[axis];
        self->sizes[tensor->rank + axis] = tensor->strides ? tensor->strides[axis] * bytes : stride;
        stride *= tensor->shape[axis];
        if (tensor->shape[axis] < 0 || __builtin_mul_overflow(total, tensor->shape[axis], &total))
            return refuse("the tensor's shape is none");
    }
    return 0;
}

static int tensor_get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    static const char *const formats[MLC_N_DTYPES] = {"e", "H", "f", "d", "b", "h", "i", "q", "B", "H", "I", "Q", "?"};
    Tensor *self = (Tensor *)object;
    Py_ssize_t bytes = mlc_dtype_bytes((uint32_t)self->dtype), total = bytes;

    view->obj = NULL;
    if ((flags & PyBUF_WRITABLE) || (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
        PyErr_SetString(PyExc_BufferError, "a DLPack tensor is exported read-only and with strides");
        return -1;
    }
    for (int axis = 0; axis < self->tensor->rank; axis++)
        total *= self->sizes[axis];
    *view = (Py_buffer){
        .buf = (char *)self->tensor->data + self->tensor->byte_offset, .obj = Py_NewRef(object), .len = total,
        .itemsize = bytes, .readonly = 1, .ndim = self->tensor->rank, .format = (char *)formats[self->dtype],
        .shape = self->sizes, .strides = self->sizes + self->tensor->rank,
    };
    return 0;
}

static void tensor_dealloc(PyObject *object)
{
    Tensor *self = (Tensor *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (self->plain && self->plain->deleter)
        self->plain->deleter(self->plain);
    if (self->versioned && self->versioned->deleter)
        self->versioned->deleter(self->versioned);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* Take over what a capsule of either kind holds. */
static int take_capsule(Tensor *self, PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        struct dl_versioned *managed = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (managed->major != 1)
            return refuse("the capsule is of a DLPack version that mlc does not know");
        if (PyCapsule_SetName(capsule, "used_dltensor_versioned") < 0)
            return -1;
        self->versioned = managed;
        self->tensor = &managed->tensor;
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        struct dl_managed *managed = PyCapsule_GetPointer(capsule, "dltensor");
        if (PyCapsule_SetName(capsule, "used_dltensor") < 0)
            return -1;
        self->plain = managed;
        self->tensor = &managed->tensor;
    } else {
        return refuse("it is no DLPack capsule, or one that was used");
    }
    return read_tensor(self);
}

/* place_on(array, device): `array`, which borrows a tensor's memory, is in the memory of a Device. */
PyObject *place_on(PyObject *module, PyObject *arguments)
{
    Array *array;
    PyObject *device;
    (void)module;

    if (!PyArg_ParseTuple(arguments, "O!O!", process.array_base, &array, process.device, &device))
        return NULL;
    if (array->device || !array->lender || Py_TYPE(array->lender->obj) != process.tensor ||
        ((Tensor *)array->lender->obj)->tensor->device_type != DL_CUDA) {
        PyErr_SetString(PyExc_TypeError, "place_on: the array does not borrow memory of a CUDA device");
        return NULL;
    }
    array->device = (Device *)Py_NewRef(device);
    return Py_NewRef((PyObject *)array);
}

/* tensor_of(capsule): the memory of a capsule, which is taken over, as an object with a buffer. */
PyObject *tensor_of(PyObject *module, PyObject *capsule)
{
    Tensor *self = (Tensor *)((allocfunc)PyType_GetSlot(process.tensor, Py_tp_alloc))(process.tensor, 0);
    (void)module;
    if (self && take_capsule(self, capsule))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyType_Slot tensor_slots[] = {
    {Py_tp_doc, "A tensor of another library, held through DLPack."},
    {Py_tp_dealloc, tensor_dealloc},
    {Py_bf_getbuffer, tensor_get_buffer},
    {0, NULL},
};

PyType_Spec tensor_spec = {
    .name = "mlc.runtime._array.Tensor",
    .basicsize = sizeof(Tensor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tensor_slots,
};
