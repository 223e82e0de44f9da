"""Fused regions of the optimized graph to Kernels."""

from .region import KINDS, KernelCall, Operand, ScheduledRegion, schedule_region

__all__ = ["KINDS", "KernelCall", "Operand", "ScheduledRegion", "schedule_region"]
