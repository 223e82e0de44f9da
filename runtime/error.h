/* Error results with one line of text: every failure says what it was about. */
#ifndef MLC_ERROR_H
#define MLC_ERROR_H

#include <stddef.h>

/* Where a failing function leaves its text; `size` may be 0. */
struct mlc_error {
    char *text;
    size_t size;
};

/* Format one line into `error` (NULL is fine), cut to its size, and return `code`. */
int mlc_fail(const struct mlc_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
