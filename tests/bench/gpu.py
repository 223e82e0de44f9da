"""What mlc does on gpu:0, beside torch's, and a page of it: ``python -m tests.bench --device gpu``.

Operations by bytes and by products, training steps T1 to T3, and, where MNIST is fetched, what the convolutional model
gets to. The page names the device, the driver and the day.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlc
import mlc.numpy as mnp
from mlc.devices import gpu_target, open_device

from .columns import with_mlc
from .columns.common import LOSSES, TITLES
from .columns.gpu_operations import Library, least, measure
from .parts import ROOT, Report, run_column

PAGE = ROOT / "docs" / "gpu-results.md"
MODEL = ROOT / "models" / "mnist_cnn.py"
_ACCURACY = re.compile(r"test accuracy (\S+)")


def library() -> Library:
    """mlc, jitted."""
    return Library(
        lambda shape, dtype: mlc.device_put(mnp.full(shape, 0.5, dtype=dtype), "gpu:0"),
        mlc.Array.block_until_ready,
        {
            "copy": mlc.jit(lambda x: x),
            "elementwise": mlc.jit(lambda x: x * 2 + 1),
            "sum": mlc.jit(mnp.sum),
            "softmax": mlc.jit(lambda x: mlc.nn.softmax(x, axis=-1)),
            "matmul": mlc.jit(lambda a, b: a @ b),
        },
    )


def measure_gpu(steps: Sequence[str], size: str, seconds: float, torch: str | None, model: bool) -> Report:
    """The report: ``size`` is full or quick; ``torch`` is a Python that has it; ``model`` trains the MNIST model.

    TargetError where there is no GPU.
    """
    device = open_device("gpu:0")
    info = device.info
    report: Report = {
        "device": info["name"],
        "target": gpu_target(device).name,
        "driver": f"CUDA {info['driver'] // 1000}.{info['driver'] % 1000 // 10}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "mlc": {"operations": measure(library(), size, seconds), "steps": {s: _step(s, seconds) for s in steps}},
    }
    if torch:
        report["torch"] = run_column(torch, "gpu_with_torch", size, str(seconds), ",".join(steps))
    if model:
        report["mnist_cnn"] = _train()
    return report


def _step(name: str, seconds: float) -> Report:
    with mlc.device("gpu:0"):
        step = with_mlc.build(name)
        losses = [float(step()) for _ in range(LOSSES)]
        return {"step": least(step, mlc.Array.block_until_ready, seconds), "losses": losses}


def _train() -> Report:
    """The accuracy of the convolutional model, trained by the command that a user would type."""
    command = [sys.executable, "-m", "mlc", "run", "--device", "gpu:0", str(MODEL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = _ACCURACY.search(done.stdout)
    if done.returncode or found is None:
        return {"failed": (done.stderr or done.stdout)[-500:]}
    return {"data": mlc.data.mnist_or_digits().name, "accuracy": float(found[1])}


def page(report: Report) -> str:
    """The report for people, in Markdown."""
    lines = [
        "# On a GPU",
        "",
        f"{report['device']} ({report['target']}), driver of {report['driver']}, {report['date']}; "
        "`python -m tests.bench --device gpu` writes this page.",
    ]
    columns: dict[str, Mapping[str, Any]] = {n: report[n] for n in ("mlc", "torch") if n in report}
    if "torch" in report:
        lines[-1] += f" torch is {report['torch']['version']}."
    else:
        lines[-1] += " Without torch: --torch PYTHON or MLC_BENCH_TORCH would name a Python that has it."
    lines += ["", *_table("operation", {n: c["operations"] for n, c in columns.items()}, ".1f")]
    times = {n: {f"{s}: {TITLES[s]}": c["steps"][s]["step"] * 1e6 for s in c["steps"]} for n, c in columns.items()}
    lines += ["", *_table("training step, us", times, ".1f")]
    model = report.get("mnist_cnn", {})
    if "accuracy" in model:
        lines += ["", f"`models/mnist_cnn.py` on {model['data']}: test accuracy {model['accuracy']:.4f}."]
    elif model:
        lines += ["", "`models/mnist_cnn.py` failed:", "", "```", model["failed"], "```"]
    return "\n".join(lines) + "\n"


def _table(title: str, columns: Mapping[str, Mapping[str, float]], form: str) -> list[str]:
    names = list(columns)
    rows = [f"| {title} | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for key in columns["mlc"]:
        cells = [f"{columns[n][key]:{form}}" if key in columns[n] else "" for n in names]
        rows.append(f"| {key} | " + " | ".join(cells) + " |")
    return rows


def write(report: Report, path: Path = PAGE) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(report))
