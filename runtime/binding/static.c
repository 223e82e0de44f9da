/* The arguments of a call some of which are static: those are compared by value, and 1, 1.0 and True differ. */
#include <string.h>

#include "binding.h"

enum { MOST_DEPTH = 16 };

/* What a static value is compared by. */
static int add_value(struct signature *s, PyObject *value, PyObject *key, int depth)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBool_Type || value == Py_None) {
        int status = signature_add_object(s, (PyObject *)type);
        return status ? status : signature_add_object(s, value);
    }
    if (type == &PyFloat_Type) { /* by its bits: 0.0 and -0.0 differ, a NaN is itself */
        double number = PyFloat_AsDouble(value);
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        int status = signature_add_object(s, (PyObject *)type);
        return status ? status : signature_add_word(s, (uintptr_t)bits);
    }
    if (type == &PyTuple_Type && depth < MOST_DEPTH) {
        int status = signature_add_object(s, (PyObject *)type);
        if (!status)
            status = signature_add_word(s, (uintptr_t)PyTuple_Size(value));
        for (Py_ssize_t i = 0; !status && i < PyTuple_Size(value); i++)
            status = add_value(s, PyTuple_GetItem(value, i), key, depth + 1);
        return status;
    }
    PyObject *compared = PyObject_CallFunctionObjArgs(key, value, NULL);
    int status = compared ? signature_add_object(s, compared) : -1;
    Py_XDECREF(compared);
    return status;
}

/* Names are interned, nearly always. */
static bool has_name(PyObject *names, PyObject *name)
{
    Py_ssize_t n = PyTuple_Size(names);

    for (Py_ssize_t i = 0; i < n; i++)
        if (PyTuple_GetItem(names, i) == name)
            return true;
    for (Py_ssize_t i = 0; i < n; i++)
        if (PyUnicode_Compare(PyTuple_GetItem(names, i), name) == 0)
            return true;
    return false;
}

/* `*dict`, made where it is NULL, with one more item. */
static int put(PyObject **dict, PyObject *name, PyObject *value)
{
    if (!*dict)
        *dict = PyDict_New();
    return *dict ? PyDict_SetItem(*dict, name, value) : -1;
}

/* Part the arguments from `plain` on, and those by name. */
static int part(PyObject *positional, PyObject *names, PyObject *arguments, Py_ssize_t plain, PyObject *named,
                PyObject **traced, PyObject **fixed)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    int status = 0;

    for (Py_ssize_t i = plain; !status && i < PyTuple_Size(arguments); i++) {
        name = PyTuple_GetItem(positional, i);
        status = put(has_name(names, name) ? fixed : traced, name, PyTuple_GetItem(arguments, i));
    }
    while (!status && named && PyDict_Next(named, &place, &name, &value))
        status = put(has_name(names, name) ? fixed : traced, name, value);
    return status;
}

int signature_add_split(struct signature *s, PyObject *positional, PyObject *names, PyObject *key, PyObject *arguments,
                        PyObject *named)
{
    Py_ssize_t n = PyTuple_Size(arguments), plain = 0;
    PyObject *traced = NULL, *fixed = NULL;

    while (plain < n && (plain >= PyTuple_Size(positional) || !has_name(names, PyTuple_GetItem(positional, plain))))
        plain++;
    if (plain < n && n > PyTuple_Size(positional))
        return 1;
    int status = signature_add_arguments(s, arguments, plain);
    if (!status)
        status = part(positional, names, arguments, plain, named, &traced, &fixed);
    if (!status)
        status = signature_add_word(s, (uintptr_t)(traced ? PyDict_Size(traced) : 0));
    if (!status && traced)
        status = signature_add_tree(s, traced, 1);
    for (Py_ssize_t i = 0; !status && fixed && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i), *value = PyDict_GetItemWithError(fixed, name);
        if (value && !(status = signature_add_object(s, name)))
            status = add_value(s, value, key, 0);
    }
    Py_XDECREF(traced);
    Py_XDECREF(fixed);
    return status;
}
