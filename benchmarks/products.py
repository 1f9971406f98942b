"""Time every product of our networks against PyTorch's own, and fail where ours is slower.

OMP_NUM_THREADS=1 python benchmarks/products.py [--models tiny small base large] [--rounds 9] [--least 0.95]

For each shape that the CNN, the projection, the decoder's Linear layer and the Transformer's blocks multiply: the
forward product and both gradients as training computes them, and the forward product with packed weights as extraction
computes it, in float32 and, where the processor is fast at it, in bfloat16. Ours and `F.linear` (or its gradients'
products) take turns; a row shows the median of the rounds' ratios, and 1 where PyTorch's own was chosen. Exits with 1
where one is below --least.

R: rows. I: input channels. O: output channels.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.hardware import best_precision
from emotion2vec.model.cpu.packing import TYPICAL_ROWS, choose_layout, pack_weight
from emotion2vec.model.cpu.products import WAYS, choose
from emotion2vec.model.frontend import TALL
from emotion2vec.pretrain.config import PretrainConfig, load_config
from emotion2vec.processors import instruction_sets, processor

CONFIGS = Path(__file__).parents[1] / "configs" / "pretrain"
SECONDS = 3.0
"""Length of the clip that a batch holds, in s."""
LEAST_SECONDS = 0.04
"""A round repeats a product until it has taken this long, in s."""


@dataclass(frozen=True)
class Shape:
    """One product of a network: where it is, and its size (R, I, O)."""

    place: str
    rows: int
    inputs: int
    outputs: int


def shapes(name: str) -> list[Shape]:
    """The products of a network for one clip: in training the student sees all views of it at once."""
    config: PretrainConfig = load_config(CONFIGS / f"{name}.yaml", ["data.train=unused", "run.dir=unused"])
    model, samples = config.model, round(SECONDS * SAMPLE_RATE)
    frames = model.grid.count(samples)
    found, steps, inputs = [], samples, 1
    for number, (kernel, stride) in enumerate(zip(model.kernels, model.strides, strict=True)):
        steps = (steps - kernel) // stride + 1
        for width in {min(stride, kernel - start) for start in range(0, kernel, stride)}:
            found.append(Shape(f"CNN {number}", steps, width * inputs, model.channels))
        inputs = model.channels
    found.append(Shape("projection", frames, model.channels, model.width))
    sizes = {"qkv": (1, 3), "attention": (1, 1)}
    linears = [(place, model.width * a, model.width * b) for place, (a, b) in sizes.items()]
    linears += [("fc1", model.width, model.ffn_width), ("fc2", model.ffn_width, model.width)]
    views = config.mask.views * (model.tokens + frames // 2)
    found += [
        Shape(f"{place}, {kind}", rows, i, o)
        for kind, rows in (("views", views), ("clip", frames))
        for place, i, o in linears
    ]
    return [*found, Shape("decoder", config.mask.views * frames, config.decoder.width, model.width)]


Case = tuple[str, str, Callable[[], Tensor], Callable[[], Tensor]]
"""What it is, the way that was chosen, ours, and PyTorch's."""


def cases(shape: Shape, dtype: torch.dtype) -> Iterator[Case]:
    """The products of one shape in the ways that were chosen, and PyTorch's for each."""
    x = torch.randn(shape.rows, shape.inputs).to(dtype)
    weight, grad = torch.randn(shape.outputs, shape.inputs).to(dtype), torch.randn(shape.rows, shape.outputs).to(dtype)
    operands = {"forward": (x, weight), "input gradient": (grad, weight), "weight gradient": (grad, x)}
    for kind, ways in WAYS.items():
        name = choose(kind, dtype, shape.rows, shape.inputs, shape.outputs)
        yield (
            kind,
            name,
            lambda way=ways[name], o=operands[kind]: way(*o),
            lambda way=ways["plain"], o=operands[kind]: way(*o),
        )
    if shape.place == "CNN 0" or "views" in shape.place or shape.place == "decoder":
        return  # a single input channel is never packed, and nothing is in training
    rows = TALL if shape.place.startswith("CNN") else TYPICAL_ROWS  # as the network packs them
    layout = choose_layout(dtype, rows, shape.inputs, shape.outputs)
    packed = pack_weight(weight, None, dtype, rows=rows)
    yield "packed", layout, lambda: packed(x), lambda: F.linear(x, weight)


def seconds(work: Callable[[], Tensor], times: int) -> float:
    """Processor time of some repetitions, in s."""
    started = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - started


def ratio(ours: Callable[[], Tensor], plain: Callable[[], Tensor], rounds: int) -> tuple[float, float]:
    """How many times faster ours is, the median of some rounds, and PyTorch's time, in s."""
    ours()
    times = max(1, round(LEAST_SECONDS / max(1e-6, seconds(plain, 1))))
    pairs = []
    for number in range(rounds):
        first, second = (ours, plain) if number % 2 else (plain, ours)
        one, other = seconds(first, times), seconds(second, times)
        pairs.append((one, other) if first is ours else (other, one))
    return statistics.median(theirs / mine for mine, theirs in pairs), min(theirs for _, theirs in pairs) / times


def alone(plain: Callable[[], Tensor]) -> tuple[float, float]:
    """The same where PyTorch's own was chosen."""
    plain()
    return 1.0, min(seconds(plain, 1) for _ in range(5))


@torch.no_grad()
def main() -> None:
    """Print a row per product, and exit with 1 if one is slower than PyTorch's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "small", "base", "large"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--least", type=float, default=0.95, help="ratio that every row must reach")
    options = parser.parse_args()
    print(
        f"{processor()} ({' '.join(instruction_sets())}), {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    dtypes = [torch.float32] + [torch.bfloat16] * (best_precision(torch.device("cpu")) == "bf16")
    slow = 0
    print("| model | where | R × I × O | dtype | product | way | GFLOP/s, plain | times plain |\n" + "| --- " * 8 + "|")
    for name in options.models:
        for shape in dict.fromkeys(shapes(name)):
            flops = 2e-9 * shape.rows * shape.inputs * shape.outputs
            for dtype in dtypes:
                for kind, way, ours, plain in cases(shape, dtype):
                    faster, took = alone(plain) if way == "plain" else ratio(ours, plain, options.rounds)
                    slow += faster < options.least
                    size = f"{shape.rows} × {shape.inputs} × {shape.outputs}"
                    row = [name, shape.place, size, str(dtype).removeprefix("torch."), kind, way]
                    print("| " + " | ".join([*row, f"{flops / took:.0f}", f"{faster:.2f}"]) + " |", flush=True)
    print(f"{slow} slower than {options.least:g} times PyTorch's own")
    sys.exit(slow > 0)


if __name__ == "__main__":
    main()
