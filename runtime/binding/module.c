/* The extension module mlc.runtime._array: its types, its functions, and the state of the process. */
#include "binding.h"

struct process process = {.memory = {.limit = (size_t)1 << 30}};

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
    {"to_dlpack", to_dlpack, METH_VARARGS, "to_dlpack(array, versioned): a DLPack capsule of the array's memory."},
    {"tensor_of", tensor_of, METH_O, "tensor_of(capsule): the memory of a DLPack capsule as an object with a buffer."},
    {"place_on", place_on, METH_VARARGS, "place_on(array, device): an array that borrows memory of a CUDA device, as one there."},
    {"to_device", to_device, METH_VARARGS, "to_device(array, device): the array in a Device's memory, in the host's for None."},
    {"default_device", default_device, METH_O, "default_device(number): where this thread's calls run; gives what it was."},
    {"set_num_threads", set_num_threads, METH_O, "Run later calls on that many threads; 0 for the default."},
    {"limit_threads", limit_threads, METH_O, "Run later calls of this thread on that many threads, 0 for the default."},
    {"num_threads", num_threads, METH_NOARGS, "The number of threads that calls run on."},
    {"set_world", set_world, METH_O, "set_world(address): collectives are among the ranks of that world, 0 for none."},
    {"cached_bytes", cached_bytes, METH_NOARGS, "Bytes of freed array memory that are kept for new arrays."},
    {"trim", trim, METH_NOARGS, "Return freed array memory to the system."},
    {"set_classify", set_classify, METH_O, "set_classify(function): who says what container a Python type is."},
    {"forget_kind", forget_kind, METH_O, "forget_kind(type): ask again what container it is."},
    {"_after_fork", after_fork, METH_NOARGS, "Called in a child process after fork."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_array", .m_doc = "Arrays and compiled functions.", .m_size = -1,
    .m_methods = functions,
};

/* Make a type and add it to `module`. Borrowed reference (the module holds it) or NULL. */
static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *type = PyType_FromSpec(spec);
    int status = type ? PyModule_AddObjectRef(module, name, type) : -1;
    Py_XDECREF(type);
    return status ? NULL : (PyTypeObject *)type;
}

PyMODINIT_FUNC PyInit__array(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (!module)
        return NULL;
    process.array_base = add_type(module, &array_spec, "ArrayBase");
    process.executable = process.array_base ? add_type(module, &executable_spec, "Executable") : NULL;
    process.tensor = process.executable ? add_type(module, &tensor_spec, "Tensor") : NULL;
    process.device = process.tensor ? add_type(module, &device_spec, "Device") : NULL;
    if (!process.device || !add_type(module, &function_spec, "Function") || !add_type(module, &code_spec, "Code"))
        Py_CLEAR(module);
    Py_XINCREF((PyObject *)process.array_base); /* live as long as the process */
    Py_XINCREF((PyObject *)process.executable);
    Py_XINCREF((PyObject *)process.tensor);
    Py_XINCREF((PyObject *)process.device);
    return module;
}
