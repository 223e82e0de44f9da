"""Devices beside the host: the CUDA driver in C, arrays and programs on a GPU."""
