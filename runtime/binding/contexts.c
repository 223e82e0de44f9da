/* The contexts that calls run in: one with threads for who comes first, and single ones beside it. */
#include <errno.h>
#include <stdlib.h>

#include "binding.h"

/* Threads that calls of this thread want; 0 for those of the pool. Set by limit_threads. */
static _Thread_local int wanted;

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

/* The default pool. NULL with an exception set: MLC_NUM_THREADS is read here, for the first call. */
static struct mlc_context *pool(void)
{
    const char *text = getenv("MLC_NUM_THREADS");
    char *end = NULL;

    if (process.pool)
        return process.pool;
    if (text && *text) {
        errno = 0;
        long n = strtol(text, &end, 10);
        if (errno || *end || n < 1 || n > MOST_THREADS) {
            fail("ArgumentError", "MLC_NUM_THREADS=%.60s is no number of threads: it is 1 to %d, or not set for as many "
                 "as this process has CPUs", text, MOST_THREADS);
            return NULL;
        }
    }
    if (create_context(0, &process.pool))
        PyErr_NoMemory();
    return process.pool;
}

/* A context with `threads` threads beside the pool: the one kept from before, or a new one. */
static struct mlc_context *other(int threads)
{
    struct mlc_context **kept = threads == 1 ? &process.single : &process.other, *context = *kept;

    *kept = NULL;
    if (context && mlc_context_threads(context) == threads)
        return context;
    mlc_context_destroy(context);
    context = NULL;
    if (create_context(threads, &context))
        PyErr_NoMemory();
    return context;
}

struct mlc_context *acquire_context(void)
{
    if (wanted && !(process.pool && mlc_context_threads(process.pool) == wanted))
        return other(wanted);
    if (process.pool_busy)
        return other(1);
    process.pool_busy = pool() != NULL;
    return process.pool;
}

void release_context(struct mlc_context *context)
{
    struct mlc_context **kept = mlc_context_threads(context) == 1 ? &process.single : &process.other;

    if (context == process.pool) {
        process.pool_busy = false;
        return;
    }
    mlc_context_destroy(*kept);
    *kept = context;
}

/* limit_threads(n): later calls of this thread run on n threads, 0 for the default. Returns what was set before. */
PyObject *limit_threads(PyObject *module, PyObject *argument)
{
    long threads = PyLong_AsLong(argument), before = wanted;
    (void)module;

    if (threads == -1 && PyErr_Occurred())
        return NULL;
    if (threads < 0 || threads > MOST_THREADS) {
        fail("ArgumentError", "threads: %ld is no number of threads: it is 1 to %d", threads, MOST_THREADS);
        return NULL;
    }
    wanted = (int)threads;
    return PyLong_FromLong(before);
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
    if (wanted)
        return PyLong_FromLong(wanted);
    return pool() ? PyLong_FromLong(mlc_context_threads(process.pool)) : NULL;
}

/* set_world(address): collectives are among the ranks of the struct mlc_world there, from now on; 0 for none. */
PyObject *set_world(PyObject *module, PyObject *argument)
{
    void *world = PyLong_AsVoidPtr(argument);
    (void)module;

    if (!world && PyErr_Occurred())
        return NULL;
    if (process.world_busy) {
        fail("DistributedError", "the world cannot change while a call with collectives runs");
        return NULL;
    }
    process.world = world;
    Py_RETURN_NONE;
}

int enter_world(struct mlc_context *context)
{
    if (process.world_busy)
        return fail("DistributedError", "two threads run programs with collectives at the same time: their order would "
                    "differ from rank to rank; call them from one thread");
    process.world_busy = true;
    mlc_context_set_world(context, process.world);
    return 0;
}

void leave_world(struct mlc_context *context)
{
    mlc_context_set_world(context, NULL);
    process.world_busy = false;
}

/* In a child after fork: what ran in the pool belongs to a thread that is not here; leave that context alone. */
PyObject *after_fork(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (process.pool_busy)
        process.pool = NULL;
    process.pool_busy = false;
    process.world = NULL; /* the parent's: a child is no rank */
    process.world_busy = false;
    Py_RETURN_NONE;
}
