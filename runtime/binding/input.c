/* One leaf of a call: an mlc array, memory that its owner lends for the call, or a Python number. */
#include <string.h>

#include "binding.h"

static void take_number(struct input *input, PyObject *leaf)
{
    input->kind = INPUT_NUMBER;
    input->dtype = PyFloat_Check(leaf) ? MLC_F32 : PyBool_Check(leaf) ? MLC_BOOL : MLC_I64;
    input->rank = 0;
    input->leaf = Py_NewRef(leaf);
}

int input_take(struct input *input, PyObject *leaf)
{
    PyTypeObject *type = Py_TYPE(leaf);

    if (is_array(leaf)) {
        Array *array = (Array *)leaf;
        input->kind = INPUT_ARRAY;
        input->dtype = array->dtype;
        input->rank = array->rank;
        input->leaf = Py_NewRef(leaf);
        array->pins++;
        return 0;
    }
    if (type == &PyFloat_Type || type == &PyLong_Type || type == &PyBool_Type) {
        take_number(input, leaf);
        return 0;
    }
    if (!loan_take(&input->loan, leaf)) {
        input->kind = INPUT_LOAN;
        input->dtype = (uint8_t)input->loan.dtype;
        input->rank = (uint8_t)input->loan.view.ndim;
        input->leaf = Py_NewRef(leaf);
        return 0;
    }
    if (!PyFloat_Check(leaf) && !PyLong_Check(leaf))
        return 1;
    take_number(input, leaf);
    return 0;
}

void input_release(struct input *input)
{
    if (input->kind == INPUT_ARRAY)
        ((Array *)input->leaf)->pins--;
    else if (input->kind == INPUT_LOAN)
        loan_return(&input->loan);
    Py_DECREF(input->leaf);
}

void input_move(struct input *to, const struct input *from)
{
    *to = *from;
    if (from->kind == INPUT_LOAN)
        view_move(&to->loan.view, &from->loan.view);
}
