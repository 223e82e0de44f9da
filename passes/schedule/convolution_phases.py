"""Spread images by phases: every ``spread``-th result meets the same taps, and so an image that is not spread.

The gradient of a strided convolution with respect to its image is one whose lhs is spread. Of its results those at
phase p of an axis (p, p + spread, ...) are a convolution of lhs itself with every ``spread``-th tap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlc.ir.kernel import Index, KernelBuilder

from .convolution_form import Convolution, Window


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of an axis: its number, its first tap, how many taps it has, and where in lhs the first result begins,
    counted from where those of phase 0 begin."""

    number: Index
    tap: Index
    taps: Index
    shift: Index


@dataclass(frozen=True, slots=True)
class Phases:
    """All phases of an axis of a spread lhs, as ``window`` says it; ``plain`` is the axis of one phase."""

    window: Window
    plain: Window

    @staticmethod
    def of(w: Window) -> Phases:
        s = w.spread
        most = max((p - w.low + -(p - w.low) % s) // s + w.low // s + _taps(w, p) for p in range(s))
        return Phases(w, Window(w.size, max(most, 1), -(-w.count // s), low=w.low // s))

    @property
    def is_even(self) -> bool:
        """Whether all phases have as many results."""
        return self.window.count % self.window.spread == 0

    def at(self, b: KernelBuilder, p: Index) -> Phase:
        w = self.window
        tap = b.mod(w.low - p, w.spread)
        shift = b.floordiv(p + tap - w.low, w.spread) + w.low // w.spread
        return Phase(p, tap, b.floordiv(w.taps - tap + w.spread - 1, w.spread), shift)


def _taps(w: Window, p: int) -> int:
    return (w.taps - (w.low - p) % w.spread + w.spread - 1) // w.spread


def phases_of(c: Convolution) -> tuple[Phases, Phases] | None:
    """The phases of both axes; None where nothing is spread, or other steps are not 1."""
    if c.y.spread == c.x.spread == 1 or c.by_channel:
        return None
    if any(w.stride > 1 or w.dilation > 1 for w in (c.y, c.x)):
        return None
    return Phases.of(c.y), Phases.of(c.x)


def one_phase(c: Convolution, phases: tuple[Phases, Phases] | None) -> Convolution:
    """What is computed of one phase, as windows over lhs."""
    return c if phases is None else replace(c, y=phases[0].plain, x=phases[1].plain)
