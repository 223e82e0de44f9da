/* Copies between host and device through two pinned blocks in turn, so that one is filled while the other moves. */
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

    if (!device->stages[0] || !device->stages[1]) /* the driver copies through memory of its own */
        return mlc_device_check_late(
            device, bytes ? cuda->MemcpyHtoDAsync(address, from, bytes, device->stream) : CUDA_SUCCESS, error,
            "a copy to it failed");
    for (size_t done = 0, i = 0; done < bytes && !result; i++) {
        size_t n = piece(done, bytes);
        int stage = (int)(i % MLC_STAGES);
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

/* Put piece i on the stream. */
static CUresult start_piece(const struct mlc_device *device, const void *from, size_t i, size_t bytes)
{
    const struct mlc_cuda *cuda = &device->cuda;
    size_t done = i * MLC_STAGE_BYTES;
    CUdeviceptr address = (uintptr_t)from + done;
    CUresult result = cuda->MemcpyDtoHAsync(device->stages[i % MLC_STAGES], address, piece(done, bytes), device->stream);

    return result ? result : cuda->EventRecord(device->staged[i % MLC_STAGES], device->stream);
}

int mlc_device_download(struct mlc_device *device, void *to, const void *from, size_t bytes, const struct mlc_error *error)
{
    const struct mlc_cuda *cuda = &device->cuda;
    CUresult result = CUDA_SUCCESS;
    size_t pieces = (bytes + MLC_STAGE_BYTES - 1) / MLC_STAGE_BYTES;

    if (!device->stages[0] || !device->stages[1]) {
        if (bytes)
            result = cuda->MemcpyDtoHAsync(to, (uintptr_t)from, bytes, device->stream);
        return result ? mlc_device_check_late(device, result, error, "a copy from it failed") : mlc_device_synchronize(device, error);
    }
    if (pieces)
        result = start_piece(device, from, 0, bytes);
    for (size_t i = 0; i < pieces && !result; i++) {
        if (i + 1 < pieces)
            result = start_piece(device, from, i + 1, bytes);
        if (!result)
            result = cuda->EventSynchronize(device->staged[i % MLC_STAGES]);
        if (!result)
            memcpy((char *)to + i * MLC_STAGE_BYTES, device->stages[i % MLC_STAGES], piece(i * MLC_STAGE_BYTES, bytes));
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
