/* Formats the one line of text that goes with an error result. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int mlc_fail(const struct mlc_error *error, int code, const char *format, ...)
{
    if (error && error->text && error->size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, error->size, format, arguments);
        va_end(arguments);
    }
    return code;
}
