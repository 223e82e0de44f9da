/* A tree of arguments to the words and objects that decide which code runs, and its leaves in order. */
#include <string.h>

#include "binding.h"

enum {
    MOST_DEPTH = 200, /* as mlc.tree.MAX_DEPTH */
    MOST_SPARE = 1024, /* inputs */
    SHORT_DICT = 32
};

/* What the low bits of a word say. Above them are a count, or a leaf's element type and number of axes. */
enum word {
    WORD_ARRAY = 1, WORD_NUMBER, WORD_NONE, WORD_LIST, WORD_TUPLE, WORD_DICT, WORD_ORDERED, WORD_NAMED, WORD_DATACLASS,
    WORD_REGISTERED, WORD_BITS = 8
};

/* What mlc.tree says of a Python type: (code, detail). Detail: names of fields, or a registered flatten function. */
enum kind { KIND_OTHER, KIND_LEAF, KIND_NAMED, KIND_DATACLASS, KIND_ORDERED, KIND_REGISTERED };

static PyObject *kinds;    /* dict: type -> (code, detail) */
static PyObject *classify; /* function: type -> (code, detail) */
static PyTypeObject *usual_leaf; /* the last type found to be KIND_LEAF; `kinds` holds it */

PyObject *set_classify(PyObject *module, PyObject *function)
{
    (void)module;
    Py_XDECREF(classify);
    classify = Py_NewRef(function);
    if (!kinds)
        kinds = PyDict_New();
    return kinds ? Py_NewRef(Py_None) : NULL;
}

/* Ask again for `kind`, which was registered as a container. */
PyObject *forget_kind(PyObject *module, PyObject *kind)
{
    (void)module;
    usual_leaf = NULL;
    if (kinds && PyDict_GetItemWithError(kinds, kind) && PyDict_DelItem(kinds, kind) < 0)
        return NULL;
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* ---- growing ---- */

/*
 * Room for the inputs of a call that has many: kept for the next call, since the C library may give a large block at the
 * end of its heap back to the system at each free. NULL while a call has it.
 */
static struct input *spare;
static uint32_t spare_inputs;

static struct input *take_room(uint32_t least, uint32_t *most)
{
    struct input *room = spare_inputs >= least ? spare : NULL;

    if (room) {
        *most = spare_inputs;
        spare = NULL;
        spare_inputs = 0;
        return room;
    }
    *most = least;
    return PyMem_Malloc(least * sizeof *room);
}

static void give_room(struct input *room, uint32_t most)
{
    if (most > spare_inputs && most <= MOST_SPARE) {
        PyMem_Free(spare);
        spare = room;
        spare_inputs = most;
    } else {
        PyMem_Free(room);
    }
}

void signature_start(struct signature *s)
{
    s->words = s->short_words;
    s->objects = s->short_objects;
    s->inputs = s->short_inputs;
    s->n_words = s->n_objects = s->n_inputs = 0;
    s->most_words = SHORT_WORDS;
    s->most_objects = SHORT_OBJECTS;
    s->most_inputs = SHORT_INPUTS;
}

void signature_release(struct signature *s)
{
    for (uint32_t i = 0; i < s->n_inputs; i++)
        input_release(&s->inputs[i]);
    for (uint32_t i = 0; i < s->n_objects; i++)
        Py_DECREF(s->objects[i]);
    if (s->words != s->short_words)
        PyMem_Free(s->words);
    if (s->objects != s->short_objects)
        PyMem_Free(s->objects);
    if (s->inputs != s->short_inputs)
        give_room(s->inputs, s->most_inputs);
}

/* Four times the room for elements of `size` bytes; `moved` says whether the old room is on the heap. */
static void *grown(void *old, bool on_heap, uint32_t *most, size_t size)
{
    void *wider = PyMem_Malloc((size_t)*most * 4 * size);
    if (!wider) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(wider, old, *most * size);
    *most *= 4;
    if (on_heap)
        PyMem_Free(old);
    return wider;
}

int signature_add_word(struct signature *s, uintptr_t word)
{
    if (s->n_words == s->most_words) {
        void *wider = grown(s->words, s->words != s->short_words, &s->most_words, sizeof *s->words);
        if (!wider)
            return -1;
        s->words = wider;
    }
    s->words[s->n_words++] = word;
    return 0;
}

int signature_add_object(struct signature *s, PyObject *object)
{
    Py_hash_t hash = PyType_Check(object) ? (Py_hash_t)(uintptr_t)object : PyObject_Hash(object);
    if (hash == -1 && PyErr_Occurred())
        return -1;
    if (s->n_objects == s->most_objects) {
        void *wider = grown(s->objects, s->objects != s->short_objects, &s->most_objects, sizeof(PyObject *));
        if (!wider)
            return -1;
        s->objects = wider;
    }
    s->objects[s->n_objects++] = Py_NewRef(object);
    return signature_add_word(s, (uintptr_t)hash);
}

/* Room for one more input: inputs move by input_move. */
static int make_room(struct signature *s)
{
    if (s->n_inputs < s->most_inputs)
        return 0;
    uint32_t most;
    struct input *wider = take_room(s->most_inputs * 4, &most);
    if (!wider) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < s->n_inputs; i++)
        input_move(&wider[i], &s->inputs[i]);
    if (s->inputs != s->short_inputs)
        give_room(s->inputs, s->most_inputs);
    s->inputs = wider;
    s->most_inputs = most;
    return 0;
}

uint64_t signature_hash(const struct signature *s)
{
    uint64_t hash = 0x9e3779b97f4a7c15u + s->n_words;
    for (uint32_t i = 0; i < s->n_words; i++) {
        hash = (hash ^ s->words[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

/* ---- trees ---- */

static int add_leaf(struct signature *s, PyObject *leaf)
{
    if (make_room(s))
        return -1;
    struct input *input = &s->inputs[s->n_inputs];
    int status = input_take(input, leaf);
    if (status)
        return status;
    s->n_inputs++;
    uintptr_t what = input->kind == INPUT_NUMBER ? WORD_NUMBER : WORD_ARRAY;
    uintptr_t device = input_device(input) ? (uintptr_t)input_device(input)->number << 24 : 0;
    if (signature_add_word(s, what | (uintptr_t)input->dtype << WORD_BITS | (uintptr_t)input->rank << 16 | device))
        return -1;
    for (int axis = 0; axis < input->rank; axis++)
        if (signature_add_word(s, (uintptr_t)input_shape(input)[axis]))
            return -1;
    return 0;
}

static int add_count(struct signature *s, enum word what, Py_ssize_t n)
{
    return signature_add_word(s, (uintptr_t)what | (uintptr_t)n << WORD_BITS);
}

/* A child of a container, held while Python code may run. */
static int add_held(struct signature *s, PyObject *child, int depth)
{
    Py_INCREF(child);
    int status = signature_add_tree(s, child, depth + 1);
    Py_DECREF(child);
    return status;
}

/* The GPU that this thread's calls run on where no argument is on one: part of every signature. 0 for the host. */
static _Thread_local int default_number;

/* default_device(number): from now on in this thread; gives what it was before. */
PyObject *default_device(PyObject *module, PyObject *argument)
{
    long number = PyLong_AsLong(argument), before = default_number;
    (void)module;

    if (number == -1 && PyErr_Occurred())
        return NULL;
    default_number = (int)number;
    return PyLong_FromLong(before);
}

int signature_add_device(struct signature *s)
{
    return default_number ? signature_add_word(s, (uintptr_t)default_number) : 0;
}

int signature_add_arguments(struct signature *s, PyObject *arguments, Py_ssize_t n)
{
    int status = add_count(s, WORD_TUPLE, n);
    for (Py_ssize_t i = 0; !status && i < n; i++)
        status = signature_add_tree(s, PyTuple_GetItem(arguments, i), 1);
    return status;
}

static int add_tuple(struct signature *s, enum word what, PyObject *tuple, int depth)
{
    Py_ssize_t n = PyTuple_Size(tuple);
    int status = add_count(s, what, n);
    for (Py_ssize_t i = 0; !status && i < n; i++)
        status = signature_add_tree(s, PyTuple_GetItem(tuple, i), depth + 1);
    return status;
}

static int add_list(struct signature *s, PyObject *list, int depth)
{
    int status = add_count(s, WORD_LIST, PyList_Size(list));
    for (Py_ssize_t i = 0; !status && i < PyList_Size(list); i++)
        status = add_held(s, PyList_GetItem(list, i), depth);
    return status;
}

/* Whether the keys are strings in ascending order. */
static bool in_order(PyObject *dict)
{
    PyObject *key, *before = NULL;
    Py_ssize_t place = 0;

    while (PyDict_Next(dict, &place, &key, NULL)) {
        if (!PyUnicode_CheckExact(key) || (before && PyUnicode_Compare(before, key) >= 0))
            return false;
        before = key;
    }
    return true;
}

static int add_entry(struct signature *s, PyObject *key, PyObject *value, int depth)
{
    Py_INCREF(key);
    int status = signature_add_object(s, key);
    Py_DECREF(key);
    return status ? status : add_held(s, value, depth);
}

struct item {
    PyObject *key, *value;
};

/* Write the items of `dict` to `items`, held, in order of their keys; -1 where those are no strings, or many. */
static Py_ssize_t ordered_items(PyObject *dict, struct item *items)
{
    PyObject *key, *value;
    Py_ssize_t n = 0, place = 0;

    if (PyDict_Size(dict) > SHORT_DICT)
        return -1;
    while (PyDict_Next(dict, &place, &key, &value)) {
        if (!PyUnicode_CheckExact(key))
            return -1;
        Py_ssize_t at = n++;
        for (; at > 0 && PyUnicode_Compare(items[at - 1].key, key) > 0; at--)
            items[at] = items[at - 1];
        items[at] = (struct item){key, value};
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(items[i].key);
        Py_INCREF(items[i].value);
    }
    return n;
}

static int add_items(struct signature *s, const struct item *items, Py_ssize_t n, int depth)
{
    int status = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!status)
            status = signature_add_object(s, items[i].key);
        if (!status)
            status = signature_add_tree(s, items[i].value, depth + 1);
        Py_DECREF(items[i].key);
        Py_DECREF(items[i].value);
    }
    return status;
}

/* By `keys`, a list in the wanted order. */
static int add_by_keys(struct signature *s, PyObject *dict, PyObject *keys, int depth)
{
    int status = 0;
    for (Py_ssize_t i = 0; !status && i < PyList_Size(keys); i++) {
        PyObject *value = PyDict_GetItemWithError(dict, PyList_GetItem(keys, i));
        status = value ? add_entry(s, PyList_GetItem(keys, i), value, depth) : PyErr_Occurred() ? -1 : 1;
    }
    return status;
}

static int add_dict(struct signature *s, PyObject *dict, int depth)
{
    int status = add_count(s, WORD_DICT, PyDict_Size(dict));

    if (!status && in_order(dict)) {
        PyObject *key, *value;
        Py_ssize_t place = 0;
        while (!status && PyDict_Next(dict, &place, &key, &value))
            status = add_entry(s, key, value, depth);
        return status;
    }
    struct item items[SHORT_DICT];
    Py_ssize_t n = status ? -1 : ordered_items(dict, items);
    if (n >= 0)
        return add_items(s, items, n, depth);
    PyObject *keys = status ? NULL : PyDict_Keys(dict);
    if (!keys)
        return -1;
    if (PyList_Sort(keys) < 0) {
        PyErr_Clear(); /* mlc.tree says what is wrong */
        status = 1;
    } else {
        status = add_by_keys(s, dict, keys, depth);
    }
    Py_DECREF(keys);
    return status;
}

static int add_ordered(struct signature *s, PyObject *dict, int depth)
{
    PyObject *keys = PySequence_List(dict);
    if (!keys)
        return -1;
    int status = add_count(s, WORD_ORDERED, PyList_Size(keys));
    if (!status)
        status = add_by_keys(s, dict, keys, depth);
    Py_DECREF(keys);
    return status;
}

static int add_dataclass(struct signature *s, PyObject *tree, PyObject *names, int depth)
{
    Py_ssize_t n = PyTuple_Size(names);
    int status = add_count(s, WORD_DATACLASS, n);
    for (Py_ssize_t i = 0; !status && i < n; i++) {
        PyObject *value = PyObject_GetAttr(tree, PyTuple_GetItem(names, i));
        if (!value)
            return -1;
        status = signature_add_tree(s, value, depth + 1);
        Py_DECREF(value);
    }
    return status;
}

static int add_registered(struct signature *s, PyObject *tree, PyObject *flatten, int depth)
{
    PyObject *pair = PyObject_CallFunctionObjArgs(flatten, tree, NULL);
    PyObject *children = NULL, *aux = NULL;
    int status = -1;

    if (pair && PyArg_ParseTuple(pair, "OO", &children, &aux) && (children = PySequence_Tuple(children))) {
        status = signature_add_object(s, aux);
        if (!status)
            status = add_tuple(s, WORD_REGISTERED, children, depth);
        Py_DECREF(children);
    }
    Py_XDECREF(pair);
    return status;
}

/* What mlc.tree says of the type of `tree`, asked once. Borrowed reference or NULL. */
static PyObject *kind_of(PyObject *tree)
{
    PyObject *type = (PyObject *)Py_TYPE(tree), *known = PyDict_GetItemWithError(kinds, type);

    if (known || PyErr_Occurred())
        return known;
    known = PyObject_CallFunctionObjArgs(classify, type, NULL);
    int status = known ? PyDict_SetItem(kinds, type, known) : -1;
    Py_XDECREF(known); /* the dict has it */
    return status ? NULL : known;
}

static int add_by_kind(struct signature *s, PyObject *tree, int depth)
{
    PyTypeObject *type = Py_TYPE(tree);
    PyObject *kind = kind_of(tree), *detail;
    int code;

    if (!kind || !PyArg_ParseTuple(kind, "iO", &code, &detail))
        return -1;
    if (code == KIND_LEAF) {
        usual_leaf = type;
        return add_leaf(s, tree);
    }
    if (code == KIND_OTHER)
        return 1;
    Py_INCREF(detail);
    int status = signature_add_object(s, (PyObject *)type);
    if (!status)
        status = code == KIND_NAMED       ? add_tuple(s, WORD_NAMED, tree, depth)
                 : code == KIND_DATACLASS ? add_dataclass(s, tree, detail, depth)
                 : code == KIND_ORDERED   ? add_ordered(s, tree, depth)
                                          : add_registered(s, tree, detail, depth);
    Py_DECREF(detail);
    return status;
}

int signature_add_tree(struct signature *s, PyObject *tree, int depth)
{
    PyTypeObject *type = Py_TYPE(tree);

    if (type == usual_leaf || type == &PyFloat_Type || type == &PyLong_Type || type == &PyBool_Type || is_array(tree))
        return add_leaf(s, tree);
    if (depth >= MOST_DEPTH)
        return 1;
    if (type == &PyDict_Type)
        return add_dict(s, tree, depth);
    if (type == &PyTuple_Type)
        return add_tuple(s, WORD_TUPLE, tree, depth);
    if (type == &PyList_Type)
        return add_list(s, tree, depth);
    if (tree == Py_None)
        return signature_add_word(s, WORD_NONE);
    return add_by_kind(s, tree, depth);
}
