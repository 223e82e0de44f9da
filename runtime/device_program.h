/* What a program has on a device: its code there, its constants, and the graphs of steps that were run before. */
#ifndef MLC_DEVICE_PROGRAM_H
#define MLC_DEVICE_PROGRAM_H

#include "device.h"
#include "plan.h"

/* Code for a device: PTX text (ending in NUL) or a cubin. */
struct mlc_image {
    const void *data;
    size_t bytes;
};

struct mlc_segment;

struct mlc_attached {
    struct mlc_device *device;
    uint32_t number; /* of the device in the Plan, from 1 */
    CUmodule module; /* NULL where the Plan launches nothing there */
    CUfunction *functions; /* one per kernel of the Plan; NULL for those that do not run here */
    void **constants;      /* one per constant of the Plan; NULL for those that are elsewhere */
    struct mlc_segment *segments; /* one per step: the steps from there on that may be one graph */
    bool graphs;
};

/*
 * Load the kernels of `plan` that run on device `number` (from 1) from the first of `images` that the device takes, and
 * upload its constants. The caller holds `device`, frees *out with mlc_detach, and keeps images only for this call. Errors as
 * mlc_cuda_check; -ENOEXEC has the assembler's words.
 */
int mlc_attach(const struct mlc_plan *plan, uint32_t number, struct mlc_device *device, const struct mlc_image *images,
               size_t n_images, const void *const *constants, struct mlc_attached **out, const struct mlc_error *error);

/* Wait for the device and free what mlc_attach made; nobody holds the device. NULL is fine. */
void mlc_detach(const struct mlc_plan *plan, struct mlc_attached *attached);

/*
 * Put step `i`, a launch of `blocks` blocks on this device, on its stream: `arguments` are pointers to the values of its
 * parameters. The text of an error names kernel and label.
 */
int mlc_attached_launch(struct mlc_attached *attached, const struct mlc_plan *plan, uint32_t i, int64_t blocks,
                        void **arguments, const struct mlc_error *error);

#endif
