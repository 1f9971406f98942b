"""Time the three products of a Linear layer in training on one CPU core, in the forms that PyTorch can run them.

OMP_NUM_THREADS=1 python benchmarks/products.py

R: rows. I: input channels. O: output channels.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

ROWS, INPUTS, OUTPUTS = 3040, 768, 3072


def rate(work: Callable[[], object], rounds: int = 5) -> float:
    """GFLOP per second of processor time, the best of some rounds."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return 2e-9 * ROWS * INPUTS * OUTPUTS / best


def main() -> None:
    """Print a table for float32 and bfloat16."""
    onednn = torch.ops.mkldnn._linear_pointwise
    print("| product | float32 | bfloat16 |\n| --- | --- | --- |")
    cases = []
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(ROWS, INPUTS, dtype=dtype), torch.randn(OUTPUTS, INPUTS, dtype=dtype)
        grad = torch.randn(ROWS, OUTPUTS, dtype=dtype)
        cases.append(
            {
                "forward: F.linear": rate(lambda x=x, weight=weight: F.linear(x, weight)),
                "forward: oneDNN": rate(lambda x=x, weight=weight: onednn(x, weight, None, "none", [], "")),
                "input's gradient: g @ W": rate(lambda g=grad, weight=weight: g @ weight),
                "weight's gradient: g.T @ x": rate(lambda g=grad, x=x: g.t() @ x),
                "weight's gradient: the wider copied, g.T.contiguous() @ x": rate(
                    lambda g=grad, x=x: g.t().contiguous() @ x
                ),
                "weight's gradient: the narrower copied, (x.T.contiguous() @ g).T": rate(
                    lambda g=grad, x=x: (x.t().contiguous() @ g).t()
                ),
            }
        )
    for name in cases[0]:
        print(f"| {name} | {cases[0][name]:.0f} | {cases[1][name]:.0f} |")


if __name__ == "__main__":
    main()
