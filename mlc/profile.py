"""Times of the steps of a Plan, measured by its walker, to a table of where a call's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ir.plan import Branch, CollectiveDone, CollectiveStart, Launch, Loop, Plan, Progress, Step, walk_steps


@dataclass(frozen=True, slots=True)
class StepTime:
    """Step ``index`` of the Plan: its kernel (or ``copy``), the user's place, and seconds per call, mean and least."""

    index: int
    kernel: str
    label: str
    mean: float
    least: float


class Profile:
    """What the steps of ``plan`` took: ``calls`` calls were measured, ``steps`` are in the Plan's order.

    Times are those of the calling thread, waiting for other threads at the end of a step included.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.calls = 0
        self.steps: tuple[StepTime, ...] = ()

    def record(self, nanoseconds: Sequence[tuple[int, int]]) -> None:
        """Take the runtime's measurement: per step the total of all calls and the least of one, in nanoseconds."""
        steps = []
        for i, (step, (total, least)) in enumerate(zip(walk_steps(self.plan.steps), nanoseconds, strict=True)):
            kernel = self._kernel(step)
            steps.append(StepTime(i, kernel, step.label, total / max(self.calls, 1) * 1e-9, least * 1e-9))
        self.steps = tuple(steps)

    def _kernel(self, step: Step) -> str:
        if isinstance(step, Launch):
            return self.plan.kernels[step.kernel]
        if isinstance(step, CollectiveStart | CollectiveDone):
            return "start" if isinstance(step, CollectiveStart) else "wait"
        if isinstance(step, Progress):
            return "progress"
        return "loop" if isinstance(step, Loop) else "branch" if isinstance(step, Branch) else "copy"

    @property
    def seconds(self) -> float:
        """The sum of every step's least time: what a call takes when nothing disturbs it."""
        return sum(s.least for s in self.steps)

    def by_kernel(self) -> dict[str, float]:
        """Least seconds of every kernel over its steps, the longest first."""
        total: dict[str, float] = {}
        for s in self.steps:
            total[s.kernel] = total.get(s.kernel, 0.0) + s.least
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def as_text(self, limit: int | None = None) -> str:
        """A table, the longest step first (of them the first ``limit``)."""
        whole = max(self.seconds, 1e-12)
        lines = [f"{self.plan.name}: {self.calls} calls, {whole * 1e6:.1f} us in {len(self.steps)} steps"]
        lines.append("   min us   mean us  share  step")
        for s in sorted(self.steps, key=lambda s: -s.least)[:limit]:
            place = s.label if s.label.startswith(s.kernel) else f"{s.kernel}  {s.label}"
            times = f"{s.least * 1e6:9.2f} {s.mean * 1e6:9.2f} {s.least / whole:6.1%}"
            lines.append(f"{times}  {s.index:3d} {place}".rstrip())
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.as_text()
