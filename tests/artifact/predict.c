/* Usage: predict FILE COLUMNS CLASSES THREADS: prints m_predict of the raw floats in FILE, a row a line, as hex. */
#include "libm.h"

#include <stdio.h>
#include <stdlib.h>

static float *read_rows(const char *path, size_t columns, size_t *rows)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    float *data = malloc(bytes ? bytes : 1);
    if (data && fread(data, 1, bytes, file) != bytes) {
        free(data);
        data = NULL;
    }
    fclose(file);
    *rows = bytes / sizeof *data / columns;
    return data;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    size_t rows = 0, columns = strtoul(argv[2], NULL, 10), classes = strtoul(argv[3], NULL, 10);
    float *x = read_rows(argv[1], columns, &rows);
    size_t bytes = rows * classes * sizeof(float);
    float *probs = aligned_alloc(64, (bytes + 63) / 64 * 64);
    struct mlc_context *context = NULL;
    int status = x && probs ? mlc_context_create(atoi(argv[4]), &context) : -1;

    for (int repeat = 0; repeat < 3 && !status; repeat++)
        status = m_predict(context, (int64_t)rows, x, probs);
    if (status)
        fprintf(stderr, "error %d: %s\n", status, context ? mlc_context_error(context) : "");
    for (size_t i = 0; i < rows * classes && !status; i++)
        printf("%a%c", probs[i], (i + 1) % classes ? ' ' : '\n');

    mlc_library_release(m_library());
    mlc_context_destroy(context);
    free(probs);
    free(x);
    return status ? 1 : 0;
}
