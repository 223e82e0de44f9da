/*
 * The Function type, which mlc.jit's objects extend: a call whose signature was seen before runs without Python code.
 *
 * A subclass has methods for the rest: `_compile_call(args, kwargs)` gives (Executable, TreeDef of the result) for a
 * new signature, `_call_traced` does calls while somebody traces, `_call_unusual` those with leaves that need a
 * conversion or are wrong, `_located(error)` is told of errors.
 */
#include <string.h>

#include "binding.h"

enum { BUCKETS = 64, MOST_IN_BUCKET = 64, SHORT_OUTPUTS = 32 };

/* One signature with its compiled function. One that nobody uses may be dropped for newer ones. */
struct entry {
    struct entry *next;
    uint64_t hash;
    uint32_t n_words, n_objects;
    uintptr_t *words;
    PyObject **objects; /* held */
    Executable *executable;
    struct recipe *recipe;
    bool known; /* a call with this signature passed all checks */
    int users;  /* running calls and comparisons */
};

typedef struct {
    PyObject_HEAD
    PyObject *positional; /* tuple: names of positional parameters */
    PyObject *names;      /* tuple: names of static arguments; empty for none */
    PyObject *static_key; /* function: a static value to what it is compared by */
    PyObject *traces;     /* list of running traces; not empty: calls are not for this file */
    struct entry *buckets[BUCKETS];
} Function;

/* ---- entries ---- */

static void entry_free(struct entry *entry)
{
    for (uint32_t i = 0; entry->objects && i < entry->n_objects; i++)
        Py_DECREF(entry->objects[i]);
    PyMem_Free(entry->words);
    PyMem_Free(entry->objects);
    recipe_free(entry->recipe);
    Py_XDECREF((PyObject *)entry->executable);
    PyMem_Free(entry);
}

/* 1 where the objects are the same, 0, or -1 with an exception set: == may be Python code. */
static int same_objects(const struct entry *entry, const struct signature *s)
{
    for (uint32_t i = 0; i < s->n_objects; i++) {
        int same = entry->objects[i] == s->objects[i]
                       ? 1
                       : PyObject_RichCompareBool(entry->objects[i], s->objects[i], Py_EQ);
        if (same != 1)
            return same;
    }
    return 1;
}

/* The entry for `s`, in use from now on, or NULL; *status is -1 with an exception set, else 0. */
static struct entry *find(const Function *self, const struct signature *s, uint64_t hash, int *status)
{
    *status = 0;
    for (struct entry *entry = self->buckets[hash % BUCKETS]; entry; entry = entry->next) {
        if (entry->hash != hash || entry->n_words != s->n_words || entry->n_objects != s->n_objects ||
            memcmp(entry->words, s->words, s->n_words * sizeof *s->words) != 0)
            continue;
        entry->users++;
        int same = same_objects(entry, s);
        if (same > 0)
            return entry;
        entry->users--;
        if (same < 0) {
            *status = -1;
            return NULL;
        }
    }
    return NULL;
}

/* Free a list of entries that are in no bucket: what they hold may run Python code when it goes. */
static void free_all(struct entry *entry)
{
    while (entry) {
        struct entry *next = entry->next;
        entry_free(entry);
        entry = next;
    }
}

/* Drop the oldest entries of a full bucket that nobody uses. */
static void bound(struct entry **bucket)
{
    struct entry *dropped = NULL;

    for (int n = 1; *bucket; n++) {
        struct entry *entry = *bucket;
        if (n <= MOST_IN_BUCKET || entry->users) {
            bucket = &entry->next;
        } else {
            *bucket = entry->next;
            entry->next = dropped;
            dropped = entry;
        }
    }
    free_all(dropped);
}

/* A new entry in use, for `s` and what _compile_call gave: (Executable, TreeDef). NULL with an exception set. */
static struct entry *add(Function *self, const struct signature *s, uint64_t hash, PyObject *compiled)
{
    PyObject *executable, *structure;
    if (!PyArg_ParseTuple(compiled, "O!O", process.executable, &executable, &structure))
        return NULL;
    struct entry *entry = PyMem_Calloc(1, sizeof *entry);
    if (!entry) {
        PyErr_NoMemory();
        return NULL;
    }
    entry->words = PyMem_Malloc((s->n_words + 1) * sizeof *entry->words);
    entry->objects = PyMem_Calloc(s->n_objects + 1, sizeof(PyObject *));
    if (entry->words && entry->objects)
        entry->recipe = recipe_of(structure);
    else
        PyErr_NoMemory();
    if (!entry->recipe) {
        entry_free(entry);
        return NULL;
    }
    memcpy(entry->words, s->words, s->n_words * sizeof *s->words);
    for (uint32_t i = 0; i < s->n_objects; i++)
        entry->objects[i] = Py_NewRef(s->objects[i]);
    entry->n_words = s->n_words;
    entry->n_objects = s->n_objects;
    entry->hash = hash;
    entry->executable = (Executable *)Py_NewRef(executable);
    if (recipe_leaves(entry->recipe) != entry->executable->program->plan.n_outputs) {
        fail("ArgumentError", "the result's structure does not fit the compiled function");
        entry_free(entry);
        return NULL;
    }
    entry->users = 1;
    entry->next = self->buckets[hash % BUCKETS];
    self->buckets[hash % BUCKETS] = entry;
    bound(&self->buckets[hash % BUCKETS]);
    return entry;
}

/* ---- signatures ---- */

static int add_call(const Function *self, struct signature *s, PyObject *args, PyObject *kwargs)
{
    if (signature_add_device(s))
        return -1;
    if (PyTuple_Size(self->names))
        return signature_add_split(s, self->positional, self->names, self->static_key, args, kwargs);
    int status = signature_add_arguments(s, args, PyTuple_Size(args));
    return status || !kwargs || !PyDict_Size(kwargs) ? status : signature_add_tree(s, kwargs, 1);
}

/* ---- calls ---- */

static PyObject *call_method(Function *self, const char *method, PyObject *args, PyObject *kwargs)
{
    PyObject *named = kwargs ? Py_NewRef(kwargs) : PyDict_New();
    PyObject *result = named ? PyObject_CallMethod((PyObject *)self, method, "OO", args, named) : NULL;
    Py_XDECREF(named);
    return result;
}

/* The pending exception after `_located` has seen it. */
static void locate_error(Function *self)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *located = PyObject_CallMethod((PyObject *)self, "_located", "O", error);
    Py_XDECREF(located);
    if (!located)
        PyErr_Clear();
    PyErr_Restore(type, error, traceback);
}

static PyObject *run(Function *self, struct entry *entry, struct signature *s)
{
    uint32_t n = recipe_leaves(entry->recipe);
    Array *few[SHORT_OUTPUTS], **outputs = n > SHORT_OUTPUTS ? PyMem_Malloc(n * sizeof *outputs) : few;
    PyObject *result = NULL;

    if (!outputs)
        return PyErr_NoMemory();
    if (!perform(entry->executable, s->inputs, s->n_inputs, entry->known, outputs)) {
        entry->known = true;
        result = recipe_build(entry->recipe, (PyObject **)outputs);
    } else {
        locate_error(self);
    }
    if (outputs != few)
        PyMem_Free(outputs);
    return result;
}

/* Compile for a new signature. NULL with an exception set. */
static struct entry *compile(Function *self, const struct signature *s, uint64_t hash, PyObject *args, PyObject *kwargs)
{
    PyObject *compiled = call_method(self, "_compile_call", args, kwargs);
    struct entry *entry = compiled ? add(self, s, hash, compiled) : NULL;
    Py_XDECREF(compiled);
    return entry;
}

static PyObject *call(Function *self, PyObject *args, PyObject *kwargs)
{
    struct signature s;
    PyObject *result = NULL;

    signature_start(&s);
    int status = add_call(self, &s, args, kwargs);
    if (!status) {
        uint64_t hash = signature_hash(&s);
        struct entry *entry = find(self, &s, hash, &status);
        if (!entry && !status)
            entry = compile(self, &s, hash, args, kwargs);
        if (entry) {
            result = run(self, entry, &s);
            entry->users--;
        }
    }
    signature_release(&s);
    return status > 0 ? call_method(self, "_call_unusual", args, kwargs) : result;
}

static PyObject *function_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Function *self = (Function *)object;

    if (!self->traces) {
        PyErr_SetString(PyExc_RuntimeError, "this Function is not configured");
        return NULL;
    }
    return PyList_Size(self->traces) ? call_method(self, "_call_traced", args, kwargs) : call(self, args, kwargs);
}

/* _call(args, kwargs): the call, whoever traces. */
static PyObject *function_call_here(PyObject *object, PyObject *arguments)
{
    PyObject *args, *kwargs;

    if (!PyArg_ParseTuple(arguments, "O!O!", &PyTuple_Type, &args, &PyDict_Type, &kwargs))
        return NULL;
    return call((Function *)object, args, kwargs);
}

/* ---- the type ---- */

/* Forget all signatures. */
static void drop_entries(Function *self)
{
    for (int b = 0; b < BUCKETS; b++) {
        struct entry *entries = self->buckets[b];
        self->buckets[b] = NULL;
        free_all(entries);
    }
}

static PyObject *function_configure(PyObject *object, PyObject *arguments)
{
    Function *self = (Function *)object;
    PyObject *positional, *names, *static_key, *traces;

    if (!PyArg_ParseTuple(arguments, "O!O!OO!", &PyTuple_Type, &positional, &PyTuple_Type, &names, &static_key,
                          &PyList_Type, &traces))
        return NULL;
    if (self->traces) {
        PyErr_SetString(PyExc_RuntimeError, "a Function is configured once");
        return NULL;
    }
    self->positional = Py_NewRef(positional);
    self->names = Py_NewRef(names);
    self->static_key = Py_NewRef(static_key);
    self->traces = Py_NewRef(traces);
    Py_RETURN_NONE;
}

static int function_traverse(PyObject *object, visitproc visit, void *arg)
{
    Function *self = (Function *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->positional);
    Py_VISIT(self->names);
    Py_VISIT(self->static_key);
    Py_VISIT(self->traces);
    for (int b = 0; b < BUCKETS; b++)
        for (struct entry *entry = self->buckets[b]; entry; entry = entry->next) {
            Py_VISIT(entry->executable);
            for (uint32_t i = 0; i < entry->n_objects; i++)
                Py_VISIT(entry->objects[i]);
        }
    return 0;
}

static int function_clear(PyObject *object)
{
    Function *self = (Function *)object;

    drop_entries(self);
    Py_CLEAR(self->positional);
    Py_CLEAR(self->names);
    Py_CLEAR(self->static_key);
    Py_CLEAR(self->traces);
    return 0;
}

static void function_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    function_clear(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyMethodDef function_methods[] = {
    {"_call", function_call_here, METH_VARARGS, "_call(args, kwargs): the call, also while somebody traces."},
    {"_configure", function_configure, METH_VARARGS, "_configure(positional names, static names, static key, traces)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_doc, "A callable that is compiled once for each signature of its arguments; see mlc.staging."},
    {Py_tp_call, function_call},
    {Py_tp_traverse, function_traverse},
    {Py_tp_clear, function_clear},
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_methods, function_methods},
    {0, NULL},
};

PyType_Spec function_spec = {
    .name = "mlc.runtime._array.Function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = function_slots,
};
