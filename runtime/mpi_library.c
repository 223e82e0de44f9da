/* Opens an MPI library and fills in its functions and the constants of its family, which no header gives us. */
#define _GNU_SOURCE
#include "mpi_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What differs in a family whose handles are numbers: the standard ABI (MPI 5.0, appendix A) and MPICH's, Intel's. */
struct numbers {
    uintptr_t comm_world, errors_return;
    uintptr_t datatypes[MLC_N_DTYPES]; /* f16 bf16 f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool */
    uintptr_t ops[MLC_N_REDUCTIONS];   /* add multiply maximum minimum and or xor */
    intptr_t in_place, status_ignore;
    int thread_serialized;
};

static const struct numbers NUMBERS[] = {
    [MLC_MPI_STANDARD] = {0x101,
                          0x143,
                          {0x249, 0x249, 0x210, 0x214, 0x240, 0x248, 0x250, 0x258, 0x241, 0x249, 0x251, 0x259, 0x241},
                          {0x21, 0x24, 0x23, 0x22, 0x28, 0x29, 0x2a},
                          1,
                          0,
                          2048},
    [MLC_MPI_MPICH] = {0x44000000,
                       0x54000001,
                       {0x4c00023c, 0x4c00023c, 0x4c00040a, 0x4c00080b, 0x4c000137, 0x4c000238, 0x4c000439, 0x4c00083a,
                        0x4c00013b, 0x4c00023c, 0x4c00043d, 0x4c00083e, 0x4c00013b},
                       {0x58000003, 0x58000004, 0x58000001, 0x58000002, 0x58000006, 0x58000008, 0x5800000a},
                       -1,
                       1,
                       2},
};

/* Open MPI's handles are addresses of its objects. */
static const char *const OPENMPI_DATATYPES[MLC_N_DTYPES] = {
    "ompi_mpi_uint16_t", "ompi_mpi_uint16_t", "ompi_mpi_float",   "ompi_mpi_double",   "ompi_mpi_int8_t",
    "ompi_mpi_int16_t",  "ompi_mpi_int32_t",  "ompi_mpi_int64_t", "ompi_mpi_uint8_t",  "ompi_mpi_uint16_t",
    "ompi_mpi_uint32_t", "ompi_mpi_uint64_t", "ompi_mpi_uint8_t",
};
static const char *const OPENMPI_OPS[MLC_N_REDUCTIONS] = {
    "ompi_mpi_op_sum", "ompi_mpi_op_prod", "ompi_mpi_op_max",  "ompi_mpi_op_min",
    "ompi_mpi_op_band", "ompi_mpi_op_bor", "ompi_mpi_op_bxor",
};

static const struct {
    const char *name;
    size_t offset;
    bool needed;
} FUNCTIONS[] = {
#define FUNCTION(name, field, needed) {name, offsetof(struct mlc_mpi, field), needed}
    FUNCTION("MPI_Initialized", initialized, true),
    FUNCTION("MPI_Init_thread", init_thread, true),
    FUNCTION("MPI_Query_thread", query_thread, true),
    FUNCTION("MPI_Finalized", finalized, true),
    FUNCTION("MPI_Finalize", finalize, true),
    FUNCTION("MPI_Get_library_version", get_library_version, true),
    FUNCTION("MPI_Error_string", error_string, true),
    FUNCTION("MPI_Comm_set_errhandler", comm_set_errhandler, true),
    FUNCTION("MPI_Comm_size", comm_size, true),
    FUNCTION("MPI_Comm_rank", comm_rank, true),
    FUNCTION("MPI_Comm_dup", comm_dup, true),
    FUNCTION("MPI_Comm_split", comm_split, true),
    FUNCTION("MPI_Comm_free", comm_free, true),
    FUNCTION("MPI_Op_create", op_create, true),
    FUNCTION("MPI_Op_free", op_free, true),
    FUNCTION("MPI_Test", test, true),
    FUNCTION("MPI_Iallreduce", iallreduce, true),
    FUNCTION("MPI_Iallgather", iallgather, true),
    FUNCTION("MPI_Ireduce_scatter_block", ireduce_scatter_block, true),
    FUNCTION("MPI_Ibcast", ibcast, true),
    FUNCTION("MPI_Iallreduce_c", iallreduce_c, false),
    FUNCTION("MPI_Iallgather_c", iallgather_c, false),
    FUNCTION("MPI_Ireduce_scatter_block_c", ireduce_scatter_block_c, false),
    FUNCTION("MPI_Ibcast_c", ibcast_c, false),
#undef FUNCTION
};

/* dlopen, with the name noted in `path` and a failure's text added to `tried`. Global: Open MPI's plugins look there. */
static void *open_named(const char *folder, const char *name, char *path, size_t path_size, char *tried,
                        size_t tried_size)
{
    int length = folder ? snprintf(path, path_size, "%s/%s", folder, name) : snprintf(path, path_size, "%s", name);
    if (length < 0 || (size_t)length >= path_size)
        return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        size_t used = strlen(tried);
        const char *reason = dlerror();
        snprintf(tried + used, tried_size - used, "\n  %s", reason ? reason : path);
    }
    return library;
}

static const char *const NAMES[] = {"libmpi_abi.so.1", "libmpi.so.12", "libmpich.so.12", "libmpi.so.40"};
enum { COUNT = sizeof NAMES / sizeof *NAMES };

/* The library that someone else in this process has started MPI with, or NULL: a process has one MPI. */
static void *open_started(struct mlc_mpi *mpi)
{
    for (int i = 0; i < COUNT; i++) {
        void *library = dlopen(NAMES[i], RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
        void *symbol = library ? dlsym(library, "MPI_Initialized") : NULL;
        int (*initialized)(int *), flag = 0;
        Dl_info info;

        memcpy(&initialized, &symbol, sizeof symbol);
        if (initialized && initialized(&flag) == 0 && flag) {
            snprintf(mpi->path, sizeof mpi->path, "%s", dladdr(symbol, &info) ? info.dli_fname : NAMES[i]);
            return library;
        }
        if (library)
            dlclose(library);
    }
    return NULL;
}

static void *open_any(struct mlc_mpi *mpi, const char *folder, char *tried, size_t tried_size)
{
    const char *asked = getenv("MLC_MPI");
    int first = getenv("OMPI_COMM_WORLD_SIZE") ? COUNT - 1 : 0;
    void *library = open_started(mpi);

    tried[0] = 0;
    if (!library && asked && *asked)
        return open_named(NULL, asked, mpi->path, sizeof mpi->path, tried, tried_size);
    for (int i = 0; i < COUNT && !library; i++) {
        const char *name = NAMES[(first + i) % COUNT];
        if (folder)
            library = open_named(folder, name, mpi->path, sizeof mpi->path, tried, tried_size);
        if (!library)
            library = open_named(NULL, name, mpi->path, sizeof mpi->path, tried, tried_size);
    }
    return library;
}

static int find_functions(struct mlc_mpi *mpi, void *library, const struct mlc_error *error)
{
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *found = dlsym(library, FUNCTIONS[i].name);
        if (!found && FUNCTIONS[i].needed)
            return mlc_fail(error, -ENOTSUP, "%s has no %s: it is not an MPI of version 3 or later", mpi->path,
                            FUNCTIONS[i].name);
        memcpy((char *)mpi + FUNCTIONS[i].offset, &found, sizeof found);
    }
    return 0;
}

/* The first line of the library's own description, which it gives before it is started. */
static void read_version(struct mlc_mpi *mpi)
{
    char text[8192] = "";
    int length = 0;

    if (mpi->get_library_version(text, &length) == 0) {
        text[strcspn(text, "\n,")] = 0;
        for (char *c = text; *c; c++)
            if (*c == '\t')
                *c = ' ';
        snprintf(mpi->version, sizeof mpi->version, "%.*s", (int)sizeof mpi->version - 1, text);
    }
}

/* How many elements a call takes. MLC_MPI_MOST is a smaller number, with which tests see what happens to more. */
static void read_most(struct mlc_mpi *mpi)
{
    bool large = mpi->iallreduce_c && mpi->iallgather_c && mpi->ireduce_scatter_block_c && mpi->ibcast_c;
    const char *text = getenv("MLC_MPI_MOST");
    long long asked = text ? strtoll(text, NULL, 10) : 0;

    mpi->most = asked > 0 && asked < INT_MAX ? asked : large ? INT64_MAX : INT_MAX;
}

/* The family by what the library has and says: a library of the standard ABI gives the ABI's version. */
static bool recognise(struct mlc_mpi *mpi, void *library)
{
    int (*abi_version)(int *, int *);
    void *symbol = dlsym(library, "MPI_Abi_get_version");
    int major = -1, minor = -1;

    memcpy(&abi_version, &symbol, sizeof symbol);
    if (abi_version && abi_version(&major, &minor) == 0 && major >= 0)
        mpi->abi = MLC_MPI_STANDARD;
    else if (dlsym(library, "ompi_mpi_comm_world"))
        mpi->abi = MLC_MPI_OPENMPI;
    else if (strstr(mpi->version, "MPICH") || strstr(mpi->version, "Intel") || strstr(mpi->version, "MVAPICH"))
        mpi->abi = MLC_MPI_MPICH;
    else
        return false;
    return true;
}

static void take_numbers(struct mlc_mpi *mpi, const struct numbers *numbers)
{
    mpi->comm_world = (void *)numbers->comm_world;
    mpi->errors_return = (void *)numbers->errors_return;
    for (int i = 0; i < MLC_N_DTYPES; i++)
        mpi->datatypes[i] = (void *)numbers->datatypes[i];
    for (int i = 0; i < MLC_N_REDUCTIONS; i++)
        mpi->ops[i] = (void *)numbers->ops[i];
    mpi->in_place = (void *)numbers->in_place;
    mpi->status_ignore = (void *)numbers->status_ignore;
    mpi->thread_serialized = numbers->thread_serialized;
}

static int take_addresses(struct mlc_mpi *mpi, void *library, const struct mlc_error *error)
{
    bool complete = (mpi->comm_world = dlsym(library, "ompi_mpi_comm_world")) != NULL;

    complete &= (mpi->errors_return = dlsym(library, "ompi_mpi_errors_return")) != NULL;
    for (int i = 0; i < MLC_N_DTYPES; i++)
        complete &= (mpi->datatypes[i] = dlsym(library, OPENMPI_DATATYPES[i])) != NULL;
    for (int i = 0; i < MLC_N_REDUCTIONS; i++)
        complete &= (mpi->ops[i] = dlsym(library, OPENMPI_OPS[i])) != NULL;
    mpi->in_place = (void *)(intptr_t)1;
    mpi->status_ignore = NULL;
    mpi->thread_serialized = 2;
    return complete ? 0 : mlc_fail(error, -ENOTSUP, "%s (%s) lacks constants of Open MPI", mpi->path, mpi->version);
}

int mlc_mpi_load(struct mlc_mpi *mpi, const char *folder, const struct mlc_error *error)
{
    char tried[3072];
    void *library;

    memset(mpi, 0, sizeof *mpi);
    library = open_any(mpi, folder, tried, sizeof tried);
    if (!library)
        return mlc_fail(error, -ENOENT,
                        "no MPI library opens%s; install one (pip install mpich) or name it in MLC_MPI%s",
                        getenv("MLC_MPI") ? " under the name that MLC_MPI gives" : "", tried);
    int status = find_functions(mpi, library, error);
    if (status)
        return status;
    read_version(mpi);
    read_most(mpi);
    if (!recognise(mpi, library))
        return mlc_fail(error, -ENOTSUP,
                        "%s says \"%s\": the constants of this MPI are unknown; use MPICH, Intel MPI, Open MPI or one "
                        "of the standard ABI",
                        mpi->path, mpi->version);
    if (mpi->abi == MLC_MPI_OPENMPI)
        return take_addresses(mpi, library, error);
    take_numbers(mpi, &NUMBERS[mpi->abi]);
    return 0;
}
