"""PyTorch's column: eager, with its fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .common import LEARNING_RATE, main, pin, problem

if __name__ == "__main__":
    pin()

import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def forward(step: str, p: dict[str, Any], x: Any) -> Any:
    if step == "T3":
        for name in ("c1", "c2"):
            x = F.max_pool2d(F.relu(F.conv2d(x, p[name + ".w"], p[name + ".b"], padding=2)), 2)
        x = F.relu(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1) @ p["f1.w"] + p["f1.b"])
        return x @ p["f2.w"] + p["f2.b"]
    layers = len(p) // 2
    for i in range(layers):
        x = torch.addmm(p[f"f{i}.b"], x, p[f"f{i}.w"])
        x = F.relu(x) if i < layers - 1 else x
    return x


def build(step: str) -> Callable[[], Any]:
    params, x, y = problem(step)
    p = {k: torch.tensor(v.transpose(3, 2, 0, 1).copy() if v.ndim == 4 else v) for k, v in params.items()}
    for v in p.values():
        v.requires_grad_()
    inputs = torch.tensor(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x)
    labels = torch.tensor(y)
    rate = LEARNING_RATE[step]
    kind = torch.optim.SGD if step == "T1" else torch.optim.Adam
    optimizer = kind(list(p.values()), lr=rate, fused=True)

    def once() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(forward(step, p, inputs), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return once


if __name__ == "__main__":
    main(build)
