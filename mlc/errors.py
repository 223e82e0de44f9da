"""The errors mlc raises: what is wrong, at which line of the user's program, and what to do about it."""

from __future__ import annotations

import sys
import warnings


class MlcError(Exception):
    """A mistake in the user's program or input.

    ``message`` says what is wrong in one paragraph (both types, the axis), ``location`` is ``file:line: source text``
    of the user's own code where known, and ``hint`` says what to do.

    Example:
        >>> print(MlcError("add: shapes differ", location="m.py:3: a + b", hint="broadcast one of them"))
        m.py:3: a + b
        add: shapes differ
        hint: broadcast one of them
    """

    exit_code = 1

    def __init__(self, message: str, *, location: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.location] if self.location else []
        lines.append(self.message)
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class ShapeError(MlcError, ValueError):
    """Shapes or ranks that do not fit an operation."""


class DTypeError(MlcError, TypeError):
    """Element types that do not fit an operation."""


class TracerError(MlcError, TypeError):
    """A traced value used where a concrete one is needed, or kept after its trace has ended."""


class ArgumentError(MlcError, TypeError):
    """A call whose arguments do not fit the signature."""


class DeletedError(MlcError, RuntimeError):
    """An array that was donated to a call, which took over its memory."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="go on with the call's result, or leave the argument out of donate_argnames")


class DifferentiationError(MlcError, TypeError):
    """A function, output or operation that cannot be differentiated as asked."""


class UnsupportedError(MlcError, NotImplementedError):
    """Something mlc understands and does not do (CLI exit code 3)."""

    exit_code = 3


class NumericError(MlcError, ArithmeticError):
    """A NaN, an infinity or a mismatch where numbers were promised (CLI exit code 4)."""

    exit_code = 4


class TargetError(MlcError, RuntimeError):
    """The machine lacks what the program was compiled for (CLI exit code 5)."""

    exit_code = 5


class DeviceError(MlcError, RuntimeError):
    """A device that failed while it ran: a kernel, a copy, or code that it does not take. The CPU goes on."""


class DistributedError(MlcError, RuntimeError):
    """The processes of a distributed run cannot meet, or do not agree."""


class ArtifactError(MlcError, RuntimeError):
    """A missing, damaged, foreign or future artifact."""


class DataError(MlcError, RuntimeError):
    """A data set that is missing, damaged or cannot be fetched."""


class ParseError(MlcError, ValueError):
    """Text (graph, Kernel, plan) that does not parse or verify; ``location`` names the line of the text."""


class VerifyError(MlcError, ValueError):
    """A graph, kernel or plan that breaks a constraint of its language; the message names the constraint."""


class InternalError(Exception):
    """A mistake of ours: says which ``stage`` failed on which ``graph``, and the command that repeats it."""

    def __init__(self, message: str, graph: object = None, stage: str = "") -> None:
        super().__init__(message)
        self.graph = graph
        self.stage = stage


class Notice(UserWarning):
    """Something that mlc does as asked and that costs: f64 data kept as f64, a donated buffer that had to be copied."""


_BETWEEN = ("mlc", "functools", "contextlib")  # ours, and what calls us in our name: cached properties, contexts


def notice(text: str) -> None:
    """Warn with ``text`` as a Notice at the nearest line outside of mlc, so that filters and reports name that line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(text, Notice, frame.f_code.co_filename, frame.f_lineno, module, registry)
