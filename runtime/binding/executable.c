/* The Executable type: a program with its constants, callable with the leaves of its inputs. */
#include <errno.h>
#include <string.h>

#include "binding.h"

/* Raise for a leaf that is neither array nor number. */
static void not_an_array(const struct mlc_plan *plan, const struct mlc_value *value, PyObject *leaf)
{
    struct text expected = expected_type(plan, &value->type);
    PyObject *type_name = PyObject_GetAttrString((PyObject *)Py_TYPE(leaf), "__name__");
    PyObject *name = type_name ? PyUnicode_AsUTF8String(type_name) : NULL;

    if (name)
        fail("ArgumentError", "%s: input %s: expected %s, got an object of type %s", plan->name, value->name,
             expected.bytes, PyBytes_AsString(name));
    Py_XDECREF(name);
    Py_XDECREF(type_name);
}

/* A list or tuple of leaves as inputs; NULL with an exception set. */
static struct input *take_leaves(const Executable *self, PyObject *leaves, uint32_t *taken)
{
    const struct mlc_plan *plan = &self->program->plan;
    Py_ssize_t n = PyTuple_Size(leaves);

    if (n != plan->n_inputs) {
        fail("ArgumentError", "%s: it takes %u inputs, %zd were given", plan->name, plan->n_inputs, n);
        return NULL;
    }
    struct input *inputs = PyMem_Malloc(((size_t)n + 1) * sizeof *inputs);
    if (!inputs) {
        PyErr_NoMemory();
        return NULL;
    }
    for (*taken = 0; *taken < plan->n_inputs; ++*taken) {
        PyObject *leaf = PyTuple_GetItem(leaves, *taken);
        int status = input_take(&inputs[*taken], leaf);
        if (!status)
            continue;
        if (status > 0)
            not_an_array(plan, &plan->inputs[*taken], leaf);
        while (*taken)
            input_release(&inputs[--*taken]);
        PyMem_Free(inputs);
        return NULL;
    }
    return inputs;
}

/* Call with leaves: a list of new arrays. */
static PyObject *executable_call(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    Executable *self = (Executable *)object;
    uint32_t n, n_outputs = self->program->plan.n_outputs;

    if (keywords || PyTuple_Size(arguments) != 1) {
        PyErr_SetString(PyExc_TypeError, "an Executable takes one argument: a list or tuple of leaves");
        return NULL;
    }
    PyObject *leaves = PySequence_Tuple(PyTuple_GetItem(arguments, 0));
    struct input *inputs = leaves ? take_leaves(self, leaves, &n) : NULL;
    Array **outputs = PyMem_Malloc(((size_t)n_outputs + 1) * sizeof *outputs);
    PyObject *list = NULL;
    if (inputs && !outputs)
        PyErr_NoMemory();
    if (inputs && outputs && !perform(self, inputs, n, false, outputs)) {
        list = PyList_New(n_outputs);
        for (uint32_t j = 0; j < n_outputs; j++) {
            if (list)
                PyList_SetItem(list, j, (PyObject *)outputs[j]);
            else
                Py_DECREF((PyObject *)outputs[j]);
        }
    }
    for (uint32_t i = 0; inputs && i < n; i++)
        input_release(&inputs[i]);
    PyMem_Free(inputs);
    PyMem_Free(outputs);
    Py_XDECREF(leaves);
    return list;
}

static void executable_dealloc(PyObject *object)
{
    Executable *self = (Executable *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject *kind, *error, *traceback; /* of a failed construction */
    PyErr_Fetch(&kind, &error, &traceback);
    Py_BEGIN_ALLOW_THREADS /* waits for devices, on which a call may wait for the GIL */
    mlc_program_destroy(self->program);
    Py_END_ALLOW_THREADS
    PyErr_Restore(kind, error, traceback);
    PyMem_Free(self->times);
    Py_XDECREF(self->devices);
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

    if (is_array(object) && ((Array *)object)->device)
        return check_alive((Array *)object) ? NULL : device_download((Array *)object);
    if (is_array(object))
        return aligned(type, (Array *)object);
    if (loan_take(&loan, object)) {
        fail("ArgumentError", "a constant is no array");
        return NULL;
    }
    Array *array = array_copying(type, &loan);
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

/* Images: bytes objects. PTX ends in the NUL that Python puts behind every one. */
static int read_images(PyObject *list, struct mlc_image *images)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(list); i++) {
        char *data;
        Py_ssize_t bytes;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(list, i), &data, &bytes) < 0)
            return -1;
        images[i] = (struct mlc_image){data, (size_t)bytes};
    }
    return 0;
}

/* Load the code for device `number` of the Plan from a tuple of images, and upload its constants. Lets go of the GIL. */
static int attach_device(Executable *self, uint32_t number, PyObject *list)
{
    Device *device = (Device *)PyTuple_GetItem(self->devices, number - 1);
    struct mlc_image *images = PyMem_Malloc(((size_t)PyTuple_Size(list) + 1) * sizeof *images);
    char text[512] = "";
    struct mlc_error error = {text, sizeof text};

    if (!images || read_images(list, images)) {
        PyMem_Free(images);
        return images ? -1 : (PyErr_NoMemory(), -1);
    }
    Py_ssize_t n = PyTuple_Size(list);
    PyThreadState *state = PyEval_SaveThread();
    int status = mlc_device_hold(device->device, &error);
    if (!status) {
        status = mlc_program_attach(self->program, number, device->device, images, (size_t)n, &error);
        mlc_device_release(device->device);
    }
    PyEval_RestoreThread(state);
    PyMem_Free(images);
    return status ? device_fail(status, text) : 0;
}

/* One Device and one tuple of images for each device of the Plan. */
static int attach_devices(Executable *self, PyObject *images)
{
    const struct mlc_plan *plan = &self->program->plan;
    Py_ssize_t n = plan->n_devices;

    if (PyTuple_Size(self->devices) != n || (images ? PyTuple_Size(images) : 0) != n)
        return fail("ArgumentError", "%s: the plan has %zd devices, %zd devices and images for %zd were given", plan->name,
                     n, PyTuple_Size(self->devices), images ? PyTuple_Size(images) : (Py_ssize_t)0);
    for (Py_ssize_t d = 0; d < n; d++) {
        PyObject *list = PyTuple_GetItem(images, d);
        if (Py_TYPE(PyTuple_GetItem(self->devices, d)) != process.device || !PyTuple_Check(list)) {
            PyErr_SetString(PyExc_TypeError, "Executable: devices are Devices, images a tuple of bytes for each");
            return -1;
        }
        if (attach_device(self, (uint32_t)d + 1, list))
            return -1;
    }
    return 0;
}

static PyObject *executable_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"plan_bytes", "kernel_addresses", "constants", "keep_alive", "array_type", "devices", "images",
                            NULL};
    const char *plan;
    Py_ssize_t plan_bytes;
    PyObject *kernels, *constants, *keep_alive, *array_type, *devices = NULL, *images = NULL;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y#OOOO|O!O!", names, &plan, &plan_bytes, &kernels, &constants,
                                     &keep_alive, &array_type, &PyTuple_Type, &devices, &PyTuple_Type, &images))
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
        self->devices = devices ? Py_NewRef(devices) : PyTuple_New(0);
        status = make_program(self, plan, plan_bytes, kernels, constants);
        if (!status)
            status = attach_devices(self, images);
    }
    if (status)
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

PyType_Spec executable_spec = {
    .name = "mlc.runtime._array.Executable",
    .basicsize = sizeof(Executable),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = executable_slots,
};
