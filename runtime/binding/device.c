/* The Device type: a device that this process has opened; arrays in its memory come and go through here. */
#include <errno.h>
#include <string.h>

#include "binding.h"

int device_fail(int status, const char *text)
{
    if (status == -ENOMEM)
        PyErr_SetString(PyExc_MemoryError, text);
    else
        fail(status == -ENODEV ? "TargetError" : "DeviceError", "%s", text);
    return -1;
}

/* ---- arrays ---- */

/* Fill one array of a held device. */
static int fill_one(struct mlc_device *device, Array *array, const void *from, const struct mlc_error *error)
{
    size_t bytes = (size_t)array->nbytes;

    if (!array->data)
        array->data = mlc_device_take(device, bytes, error);
    if (!array->data)
        return -ENOMEM;
    return from && bytes ? mlc_device_upload(device, array->data, from, bytes, error) : 0;
}

/* The same for all of them. Runs without the GIL: the arrays are the caller's own. */
static int fill_all(Device *device, Array *const *arrays, void *const *from, uint32_t n, const struct mlc_error *error)
{
    int status = mlc_device_hold(device->device, error);

    if (status)
        return status;
    for (uint32_t i = 0; i < n && !status; i++)
        if (arrays[i] && arrays[i]->device == device && (!arrays[i]->data || from))
            status = fill_one(device->device, arrays[i], from ? from[i] : NULL, error);
    mlc_device_release(device->device);
    return status;
}

int device_fill(Device *device, Array *const *arrays, void *const *from, uint32_t n)
{
    char text[512] = "";
    struct mlc_error error = {text, sizeof text};
    PyThreadState *state = PyEval_SaveThread();
    int status = fill_all(device, arrays, from, n, &error);

    PyEval_RestoreThread(state);
    return status ? device_fail(status, text) : 0;
}

Array *device_download(Array *array)
{
    char text[512] = "";
    struct mlc_error error = {text, sizeof text};
    struct mlc_device *device = array->device->device;
    Array *copy = array_shell(Py_TYPE((PyObject *)array), array->dtype, array->rank, array->shape, array->nbytes);

    if (!copy || array_allocate(copy)) {
        Py_XDECREF((PyObject *)copy);
        return NULL;
    }
    array->pins++; /* while the GIL is let go */
    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_device_hold(device, &error);
    if (!status) {
        status = mlc_device_download(device, copy->data, array->data, (size_t)array->nbytes, &error);
        mlc_device_release(device);
    }
    PyEval_RestoreThread(state);
    array->pins--;
    if (!status)
        return copy;
    Py_DECREF((PyObject *)copy);
    device_fail(status, text);
    return NULL;
}

/* A new array on `device` with the elements of one in the host's memory. */
static Array *upload(Array *array, Device *device)
{
    Array *there = array_shell(Py_TYPE((PyObject *)array), array->dtype, array->rank, array->shape, array->nbytes);

    if (!there)
        return NULL;
    there->device = (Device *)Py_NewRef((PyObject *)device);
    array->pins++;
    int status = device_fill(device, &there, &array->data, 1);
    array->pins--;
    if (!status)
        return there;
    Py_DECREF((PyObject *)there);
    return NULL;
}

PyObject *to_device(PyObject *module, PyObject *arguments)
{
    Array *array;
    PyObject *device;
    (void)module;

    if (!PyArg_ParseTuple(arguments, "O!O", process.array_base, &array, &device) || check_alive(array))
        return NULL;
    if (device != Py_None && Py_TYPE(device) != process.device) {
        PyErr_SetString(PyExc_TypeError, "to_device: a Device or None");
        return NULL;
    }
    Device *target = device == Py_None ? NULL : (Device *)device;
    if (array->device == target)
        return Py_NewRef((PyObject *)array);
    Array *here = array->device ? device_download(array) : (Array *)Py_NewRef((PyObject *)array);
    Array *there = here && target ? upload(here, target) : (Array *)Py_XNewRef((PyObject *)here);
    Py_XDECREF((PyObject *)here);
    return (PyObject *)there;
}

/* ---- the type ---- */

static PyObject *device_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"ordinal", "library", NULL};
    const char *library = NULL;
    char text[512] = "";
    struct mlc_error error = {text, sizeof text};
    int ordinal;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "i|z", names, &ordinal, &library))
        return NULL;
    Device *self = (Device *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self)
        return NULL;
    self->number = ordinal + 1;
    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_device_open(library, ordinal, &self->device, &error);
    PyEval_RestoreThread(state);
    if (!status)
        return (PyObject *)self;
    Py_DECREF((PyObject *)self);
    device_fail(status, text);
    return NULL;
}

static void device_dealloc(PyObject *object)
{
    Device *self = (Device *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject *kind, *error, *traceback; /* of what let go of it */
    PyErr_Fetch(&kind, &error, &traceback);
    Py_BEGIN_ALLOW_THREADS
    mlc_device_close(self->device);
    Py_END_ALLOW_THREADS
    PyErr_Restore(kind, error, traceback);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *device_synchronize(PyObject *object, PyObject *unused)
{
    struct mlc_device *device = ((Device *)object)->device;
    char text[512] = "";
    struct mlc_error error = {text, sizeof text};
    (void)unused;

    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_device_hold(device, &error);
    if (!status) {
        status = mlc_device_synchronize(device, &error);
        mlc_device_release(device);
    }
    PyEval_RestoreThread(state);
    if (status) {
        device_fail(status, text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *device_trim(PyObject *object, PyObject *unused)
{
    struct mlc_device *device = ((Device *)object)->device;
    (void)unused;

    Py_BEGIN_ALLOW_THREADS
    if (!mlc_device_hold(device, NULL)) {
        mlc_device_trim(device);
        mlc_device_release(device);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *device_info(PyObject *object, void *unused)
{
    const struct mlc_device_info *info = &((Device *)object)->device->info;
    (void)unused;

    return Py_BuildValue("{s:s,s:i,s:(ii),s:i,s:i,s:i,s:i,s:i,s:n}", "name", info->name, "driver", info->driver,
                         "capability", info->major, info->minor, "multiprocessors", info->multiprocessors, "clock_khz",
                         info->clock_khz, "memory_clock_khz", info->memory_clock_khz, "bus_bits", info->bus_bits,
                         "shared_bytes", info->shared_bytes, "memory_bytes", (Py_ssize_t)info->memory_bytes);
}

static PyObject *device_memory(PyObject *object, void *unused)
{
    const struct mlc_device_memory *memory = &((Device *)object)->device->memory;
    (void)unused;

    return Py_BuildValue("(nn)", (Py_ssize_t)memory->used, (Py_ssize_t)memory->cached);
}

static PyObject *device_stream(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromVoidPtr(((Device *)object)->device->stream);
}

static PyObject *device_name(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((Device *)object)->device->name);
}

static PyMethodDef device_methods[] = {
    {"synchronize", device_synchronize, METH_NOARGS, "Wait until everything is done; DeviceError for what failed."},
    {"trim", device_trim, METH_NOARGS, "Return freed memory to the driver."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef device_properties[] = {
    {"name", device_name, NULL, "What programs call it: gpu:0.", NULL},
    {"stream", device_stream, NULL, "The CUDA stream that everything happens on, as a number.", NULL},
    {"info", device_info, NULL, "What the driver says of it.", NULL},
    {"memory", device_memory, NULL, "Bytes in use, and bytes kept for what comes next.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot device_slots[] = {
    {Py_tp_doc, "Device(ordinal, library=None): a device of the CUDA driver, opened. TargetError where it is not there."},
    {Py_tp_new, device_new},
    {Py_tp_dealloc, device_dealloc},
    {Py_tp_methods, device_methods},
    {Py_tp_getset, device_properties},
    {0, NULL},
};

PyType_Spec device_spec = {
    .name = "mlc.runtime._array.Device",
    .basicsize = sizeof(Device),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = device_slots,
};
