/* Copies between host and device through pinned blocks in turn, so that some are filled while others move. */
#include <string.h>

#include "device.h"

/* Bytes of the next piece. */
static size_t piece(size_t done, size_t bytes)
{
    size_t left = bytes - done;
    return left < MLC_STAGE_BYTES ? left : MLC_STAGE_BYTES;
}

int mlc_device_upload(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &device->cuda;
    CUdeviceptr address = (uintptr_t)to;
    CUresult result = CUDA_SUCCESS;

    if (!device->pinned) /* the driver copies through memory of its own */
        return mlc_device_check_late(
            device, bytes ? cuda->MemcpyHtoDAsync(address, from, bytes, device->stream) : CUDA_SUCCESS, error,
            "a copy to it failed");
    for (size_t done = 0; done < bytes && !result;) {
        size_t n = piece(done, bytes), stage = device->next_stage++ % MLC_STAGES;
        result = cuda->EventSynchronize(device->staged[stage]);
        if (result)
            break;
        memcpy(device->stages[stage], (const char *)from + done, n);
        result = cuda->MemcpyHtoDAsync(address + done, device->stages[stage], n, device->stream);
        if (!result)
            result = cuda->EventRecord(device->staged[stage], device->stream);
        done += n;
    }
    return mlc_device_check_late(device, result, error, "a copy to it failed");
}

/* Put piece i on the stream, through the block that is `stage`'s turn. */
static CUresult start_piece(const struct mlc_device *device, const void *from, size_t i, size_t bytes, size_t stage)
{
    const struct mlc_cuda *cuda = &device->cuda;
    size_t done = i * MLC_STAGE_BYTES;
    CUdeviceptr address = (uintptr_t)from + done;
    CUresult result = cuda->MemcpyDtoHAsync(device->stages[stage % MLC_STAGES], address, piece(done, bytes), device->stream);

    return result ? result : cuda->EventRecord(device->staged[stage % MLC_STAGES], device->stream);
}

int mlc_device_download(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &device->cuda;
    CUresult result = CUDA_SUCCESS;
    size_t pieces = (bytes + MLC_STAGE_BYTES - 1) / MLC_STAGE_BYTES, first = device->next_stage;

    if (!device->pinned) {
        if (bytes)
            result = cuda->MemcpyDtoHAsync(to, (uintptr_t)from, bytes, device->stream);
        return result ? mlc_device_check_late(device, result, error, "a copy from it failed") : mlc_device_synchronize(device, error);
    }
    device->next_stage += pieces;
    if (pieces)
        result = start_piece(device, from, 0, bytes, first);
    for (size_t i = 0; i < pieces && !result; i++) {
        size_t stage = (first + i) % MLC_STAGES, done = i * MLC_STAGE_BYTES;
        if (i + 1 < pieces)
            result = start_piece(device, from, i + 1, bytes, first + i + 1);
        if (!result)
            result = cuda->EventSynchronize(device->staged[stage]);
        if (!result)
            memcpy((char *)to + done, device->stages[stage], piece(done, bytes));
    }
    if (!result && pieces)
        device->pending.count = 0; /* the copy was the last on the stream */
    return mlc_device_check_late(device, result, error, "a copy from it failed");
}

int mlc_device_move(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error)
{
    CUresult result = CUDA_SUCCESS;

    if (bytes)
        result = device->cuda.MemcpyDtoDAsync((uintptr_t)to, (uintptr_t)from, bytes, device->stream);
    return mlc_device_check_late(device, result, error, "a copy within it failed");
}
