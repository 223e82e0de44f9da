"""Fused regions of the optimized graph to Kernels."""

from .region import KernelCall, Operand, ScheduledRegion, schedule_region

__all__ = ["KernelCall", "Operand", "ScheduledRegion", "schedule_region"]
