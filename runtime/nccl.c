/* Opens NCCL and fills in its functions. */
#define _GNU_SOURCE
#include "nccl.h"

#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mlc.h"

enum { OLDEST = 2700 }; /* 2.7: the first with ncclCommAbort and ncclCommGetAsyncError as they are now */

static const struct {
    const char *name;
    size_t offset;
} FUNCTIONS[] = {
    {"ncclGetErrorString", offsetof(struct mlc_nccl, get_error_string)},
#define ENTRY(name, symbol, parameters) {#symbol, offsetof(struct mlc_nccl, name)},
    MLC_NCCL_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void *open_at(struct mlc_nccl *nccl, const char *path)
{
    snprintf(nccl->path, sizeof nccl->path, "%s", path);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* The library of a wheel, which the loader does not find: nvidia/nccl in the packages of the Python below `folder`. */
static void *open_wheel(struct mlc_nccl *nccl, const char *folder)
{
    char pattern[512];
    glob_t found;
    void *library = NULL;

    if (snprintf(pattern, sizeof pattern, "%s/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2", folder) >=
        (int)sizeof pattern)
        return NULL;
    if (glob(pattern, 0, NULL, &found) == 0) {
        library = open_at(nccl, found.gl_pathv[0]);
        globfree(&found);
    }
    return library;
}

static void *open_any(struct mlc_nccl *nccl, const char *folder)
{
    const char *asked = getenv("MLC_NCCL");
    void *library;

    if (asked && *asked)
        return open_at(nccl, asked);
    library = open_at(nccl, "libnccl.so.2");
    return library || !folder ? library : open_wheel(nccl, folder);
}

int mlc_nccl_load(struct mlc_nccl *nccl, const char *folder, const struct mlc_error *error)
{
    void *library = open_any(nccl, folder);

    if (!library)
        return mlc_fail(error, -ENOENT,
                        "collectives of arrays on GPUs need NCCL, which is not here: pip install nvidia-nccl-cu12 (or "
                        "the wheel of your CUDA), or name libnccl.so.2 in MLC_NCCL (%s)",
                        dlerror());
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *symbol = dlsym(library, FUNCTIONS[i].name);
        if (!symbol)
            return mlc_fail(error, -ENOTSUP, "%s has no %s: it is not NCCL 2.7 or later", nccl->path,
                            FUNCTIONS[i].name);
        memcpy((char *)nccl + FUNCTIONS[i].offset, &symbol, sizeof symbol);
    }
    if (nccl->get_version(&nccl->version) || nccl->version < OLDEST)
        return mlc_fail(error, -ENOTSUP, "%s is NCCL version %d: 2.7 or later is needed", nccl->path, nccl->version);
    nccl->library = library;
    return 0;
}

int mlc_nccl_version(const char *folder, char *error, size_t error_size)
{
    struct mlc_nccl nccl = {0};
    const struct mlc_error text = {error, error_size};
    int status = mlc_nccl_load(&nccl, folder, &text);

    return status ? status : nccl.version;
}
