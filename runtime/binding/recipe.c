/* A mlc.tree.TreeDef to nodes in C, from which trees of results are built. */
#include <string.h>

#include "binding.h"

enum shape { SHAPE_LEAF, SHAPE_NONE, SHAPE_LIST, SHAPE_TUPLE, SHAPE_DICT, SHAPE_NAMED, SHAPE_DATACLASS, SHAPE_OTHER };

/* A node; its children follow it, each with what is below it. */
struct node {
    enum shape shape;
    Py_ssize_t n; /* children */
    PyObject *type, *names; /* held; names: keys of a dict, fields of a dataclass, else what the TreeDef calls aux */
};

struct recipe {
    uint32_t n_nodes, most_nodes, n_leaves;
    PyObject *assemble; /* mlc.tree.assemble, for registered containers */
    struct node nodes[];
};

void recipe_free(struct recipe *recipe)
{
    if (!recipe)
        return;
    for (uint32_t i = 0; i < recipe->n_nodes; i++) {
        Py_XDECREF(recipe->nodes[i].type);
        Py_XDECREF(recipe->nodes[i].names);
    }
    Py_XDECREF(recipe->assemble);
    PyMem_Free(recipe);
}

uint32_t recipe_leaves(const struct recipe *recipe)
{
    return recipe->n_leaves;
}

/* ---- from a TreeDef ---- */

static enum shape shape_of(PyObject *type, PyObject *registered)
{
    if (type == Py_None)
        return SHAPE_LEAF;
    if (type == (PyObject *)Py_TYPE(Py_None))
        return SHAPE_NONE;
    if (type == (PyObject *)&PyList_Type)
        return SHAPE_LIST;
    if (type == (PyObject *)&PyTuple_Type)
        return SHAPE_TUPLE;
    if (type == (PyObject *)&PyDict_Type)
        return SHAPE_DICT;
    if (PyDict_Contains(registered, type) || !PyType_Check(type))
        return SHAPE_OTHER;
    if (PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type))
        return SHAPE_NAMED;
    return PyType_IsSubtype((PyTypeObject *)type, &PyDict_Type) ? SHAPE_OTHER : SHAPE_DATACLASS;
}

/* One more node at the end of *recipe, which may move. NULL with an exception set. */
static struct node *add_node(struct recipe **recipe)
{
    if ((*recipe)->n_nodes == (*recipe)->most_nodes) {
        uint32_t most = 2 * (*recipe)->most_nodes;
        struct recipe *wider = PyMem_Realloc(*recipe, sizeof **recipe + most * sizeof(struct node));
        if (!wider) {
            PyErr_NoMemory();
            return NULL;
        }
        wider->most_nodes = most;
        *recipe = wider;
    }
    struct node *node = &(*recipe)->nodes[(*recipe)->n_nodes++];
    memset(node, 0, sizeof *node);
    return node;
}

static int add_structure(struct recipe **recipe, PyObject *structure, PyObject *registered)
{
    struct node *node = add_node(recipe);
    if (!node)
        return -1;
    node->type = PyObject_GetAttrString(structure, "kind");
    node->names = PyObject_GetAttrString(structure, "aux");
    PyObject *children = PyObject_GetAttrString(structure, "children");
    int status = node->type && node->names && children ? 0 : -1;
    if (!status) {
        node->shape = shape_of(node->type, registered);
        node->n = PyTuple_Size(children);
        (*recipe)->n_leaves += node->shape == SHAPE_LEAF;
        for (Py_ssize_t i = 0, n = node->n; !status && i < n; i++)
            status = add_structure(recipe, PyTuple_GetItem(children, i), registered);
    }
    Py_XDECREF(children);
    return status;
}

struct recipe *recipe_of(PyObject *structure)
{
    enum { FIRST = 8 };
    PyObject *module = PyImport_ImportModule("mlc.tree");
    PyObject *registered = module ? PyObject_GetAttrString(module, "_registry") : NULL;
    struct recipe *recipe = registered ? PyMem_Calloc(1, sizeof *recipe + FIRST * sizeof(struct node)) : NULL;

    if (recipe) {
        recipe->most_nodes = FIRST;
        recipe->assemble = PyObject_GetAttrString(module, "assemble");
        if (!recipe->assemble || add_structure(&recipe, structure, registered)) {
            recipe_free(recipe);
            recipe = NULL;
        }
    } else if (registered) {
        PyErr_NoMemory();
    }
    Py_XDECREF(registered);
    Py_XDECREF(module);
    return recipe;
}

/* ---- to a tree ---- */

/* Where a walk over the nodes is. */
struct position {
    const struct recipe *recipe;
    uint32_t node;
    PyObject **leaf;
};

static PyObject *build(struct position *at);

static PyObject *build_list(struct position *at, Py_ssize_t n)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list && i < n; i++) {
        PyObject *child = build(at);
        if (!child || PyList_SetItem(list, i, child) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *build_tuple(struct position *at, Py_ssize_t n)
{
    PyObject *tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple && i < n; i++) {
        PyObject *child = build(at);
        if (!child || PyTuple_SetItem(tuple, i, child) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *build_dict(struct position *at, const struct node *node)
{
    PyObject *dict = PyDict_New();
    for (Py_ssize_t i = 0; dict && i < node->n; i++) {
        PyObject *child = build(at);
        if (!child || PyDict_SetItem(dict, PyTuple_GetItem(node->names, i), child) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(child);
    }
    return dict;
}

/* tuple.__new__(type, children): the namedtuple's own __new__ may ask for other arguments. */
static PyObject *build_named(struct position *at, const struct node *node)
{
    newfunc new_tuple = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    PyObject *children = build_tuple(at, node->n);
    PyObject *arguments = children ? PyTuple_Pack(1, children) : NULL;
    PyObject *made = arguments ? new_tuple((PyTypeObject *)node->type, arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    Py_XDECREF(children);
    return made;
}

/* object.__new__ and object.__setattr__: __init__ may check or convert what is a leaf of another kind here. */
static PyObject *build_dataclass(struct position *at, const struct node *node)
{
    newfunc new_object = (newfunc)PyType_GetSlot(&PyBaseObject_Type, Py_tp_new);
    PyObject *none = PyTuple_New(0);
    PyObject *made = none ? new_object((PyTypeObject *)node->type, none, NULL) : NULL;
    Py_XDECREF(none);
    for (Py_ssize_t i = 0; made && i < node->n; i++) {
        PyObject *child = build(at);
        if (!child || PyObject_GenericSetAttr(made, PyTuple_GetItem(node->names, i), child) < 0)
            Py_CLEAR(made);
        Py_XDECREF(child);
    }
    return made;
}

static PyObject *build_other(struct position *at, const struct node *node)
{
    PyObject *children = build_list(at, node->n);
    PyObject *made =
        children ? PyObject_CallFunctionObjArgs(at->recipe->assemble, node->type, node->names, children, NULL) : NULL;
    Py_XDECREF(children);
    return made;
}

/* The tree at this node; steps behind it. A leaf that was used is NULL in the caller's list from then on. */
static PyObject *build(struct position *at)
{
    const struct node *node = &at->recipe->nodes[at->node++];
    PyObject *leaf;

    switch (node->shape) {
    case SHAPE_LEAF:
        leaf = *at->leaf;
        *at->leaf++ = NULL;
        return leaf;
    case SHAPE_NONE:
        return Py_NewRef(Py_None);
    case SHAPE_LIST:
        return build_list(at, node->n);
    case SHAPE_TUPLE:
        return build_tuple(at, node->n);
    case SHAPE_DICT:
        return build_dict(at, node);
    case SHAPE_NAMED:
        return build_named(at, node);
    case SHAPE_DATACLASS:
        return build_dataclass(at, node);
    default:
        return build_other(at, node);
    }
}

PyObject *recipe_build(const struct recipe *recipe, PyObject **leaves)
{
    struct position at = {recipe, 0, leaves};
    PyObject *tree = build(&at);

    for (uint32_t i = 0; !tree && i < recipe->n_leaves; i++)
        Py_XDECREF(leaves[i]);
    return tree;
}
