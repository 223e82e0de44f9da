/* Raises mlc's errors, and writes types as they appear in messages. */
#include <stdarg.h>
#include <stdio.h>

#include "binding.h"

/* Raise mlc.errors.<class_name> with formatted text. Returns -1. */
int fail(const char *class_name, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    PyObject *module = PyImport_ImportModule("mlc.errors");
    PyObject *class = module ? PyObject_GetAttrString(module, class_name) : NULL;
    if (class)
        PyErr_SetString(class, text);
    Py_XDECREF(class);
    Py_XDECREF(module);
    return -1;
}

static void append(struct text *text, const char *format, ...)
{
    int room = TEXT_BYTES - text->used;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text->bytes + text->used, (size_t)room, format, arguments);
    va_end(arguments);
    text->used += n < room ? n : room - 1;
}

/* A size as Python prints it: 3*batch+1. */
static void append_size(struct text *text, const struct mlc_plan *plan, const struct mlc_size *size)
{
    if (!size->n_terms)
        append(text, "0");
    for (uint32_t t = 0; t < size->n_terms; t++) {
        const struct mlc_term *term = &size->terms[t];
        bool named = term->n_factors && term->coefficient == 1;
        if (t && term->coefficient >= 0)
            append(text, "+");
        if (!named)
            append(text, "%lld", (long long)term->coefficient);
        for (uint32_t f = 0; f < term->n_factors; f++)
            append(text, "%s%s", f || !named ? "*" : "", plan->symbols[term->factors[f]].name);
    }
}

struct text expected_type(const struct mlc_plan *plan, const struct mlc_type *type)
{
    struct text text = {.used = 0};
    append(&text, "%s[", mlc_dtype_name(type->dtype));
    for (uint32_t axis = 0; axis < type->rank; axis++) {
        append(&text, axis ? "," : "");
        append_size(&text, plan, &plan->sizes[type->shape[axis]]);
    }
    append(&text, "]");
    return text;
}

struct text actual_type(uint32_t dtype, int rank, const Py_ssize_t *shape)
{
    struct text text = {.used = 0};
    append(&text, "%s[", mlc_dtype_name(dtype));
    for (int axis = 0; axis < rank; axis++)
        append(&text, axis ? ",%lld" : "%lld", (long long)shape[axis]);
    append(&text, "]");
    return text;
}
