/* The contexts that calls run in: one with threads for who comes first, and single ones beside it. */
#include "binding.h"

/* Whether a signal handler raised: Ctrl-C stops a loop. The exception stays with the calling thread. */
static int interrupted(void *unused)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int stop = PyErr_CheckSignals() < 0;
    (void)unused;
    PyGILState_Release(state);
    return stop;
}

/* mlc_context_create, with Python's signals seen in loops. */
static int create_context(int threads, struct mlc_context **out)
{
    int status = mlc_context_create(threads, out);
    if (!status)
        mlc_context_set_poll(*out, interrupted, NULL);
    return status;
}

struct mlc_context *acquire_context(void)
{
    struct mlc_context *context = NULL;

    if (!process.pool_busy) {
        if (!process.pool && create_context(0, &process.pool)) {
            PyErr_NoMemory();
            return NULL;
        }
        process.pool_busy = true;
        return process.pool;
    }
    context = process.single;
    process.single = NULL;
    if (!context && create_context(1, &context))
        PyErr_NoMemory();
    return context;
}

void release_context(struct mlc_context *context)
{
    if (context == process.pool)
        process.pool_busy = false;
    else if (!process.single)
        process.single = context;
    else
        mlc_context_destroy(context);
}

PyObject *set_num_threads(PyObject *module, PyObject *argument)
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
    if (threads < 0 || threads > 1024 || create_context((int)threads, &context)) {
        fail("ArgumentError", "set_num_threads: %ld is not 0 (the default) or a number of threads up to 1024", threads);
        return NULL;
    }
    mlc_context_destroy(process.pool);
    process.pool = context;
    Py_RETURN_NONE;
}

PyObject *num_threads(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (!process.pool && create_context(0, &process.pool))
        return PyErr_NoMemory();
    return PyLong_FromLong(mlc_context_threads(process.pool));
}

/* In a child after fork: what ran in the pool belongs to a thread that is not here; leave that context alone. */
PyObject *after_fork(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (process.pool_busy)
        process.pool = NULL;
    process.pool_busy = false;
    Py_RETURN_NONE;
}
