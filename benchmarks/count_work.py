"""Count what a pretraining update computes and moves, per second of audio and by part; needs no device.

python benchmarks/count_work.py [CONFIG] [SECONDS_PER_UTTERANCE]

S: samples. T: frames. N: utterance tokens. K: frames that the student sees. D: model width. F: feed-forward width.
M: views. H: heads.
"""

from __future__ import annotations

import sys
from pathlib import Path

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.pretrain.config import PretrainConfig, load_config
from emotion2vec.pretrain.masking import masked_frames
from emotion2vec.pretrain.work import utterance_flops

BYTES = 2
"""Of an activation in bfloat16."""


def activation_bytes(config: PretrainConfig, samples: int, frames: int) -> dict[str, float]:
    """Bytes of activations that one utterance moves at least, forward and backward, by part.

    Every operation that PyTorch runs by itself reads its inputs and writes its output once: a product, a norm, a GELU,
    a dropout, a sum. The backward pass of each reads its saved input and its gradient, and writes one gradient. Fused
    attention moves queries, keys, values and outputs; scores stay on the chip.
    """
    model, views = config.model, config.mask.views
    steps, inputs, cnn = samples, 1, 0
    for kernel, stride in zip(model.kernels, model.strides, strict=True):
        read = steps * inputs
        steps, inputs = (steps - kernel) // stride + 1, model.channels
        cnn += read + 5 * steps * model.channels  # the product; norm and GELU read and write
    depth, wide, width = model.prenet_depth + model.depth, model.ffn_width, model.width
    # Products 2 D + 3 D + 2 D + 2 D + 2 F; GELU 2 F; two dropouts, sums and norms of 2 D, 3 D, 2 D each; attention 4 D.
    block = 27 * width + 4 * wide
    student = model.tokens + frames - masked_frames(frames, config.mask.prob)
    positions = model.position_layers * 6 * width * frames
    decoder = config.decoder.layers * 9 * config.decoder.width * frames
    return {
        "cnn": 3.0 * BYTES * cnn,
        "student positions": 3.0 * BYTES * views * positions,
        "student blocks": 3.0 * BYTES * views * depth * block * student,
        "teacher": float(BYTES) * (depth * block * (model.tokens + frames) + positions),
        "decoder": 3.0 * BYTES * views * decoder,
    }


def main(name: str, seconds: float) -> None:
    """Print a table: per second of audio, GFLOP and MB by part."""
    file = Path(__file__).parents[1] / "configs" / "pretrain" / f"{name}.yaml"
    config = load_config(file, ["data.train=unused", "run.dir=unused"])
    samples = round(seconds * SAMPLE_RATE)
    frames = config.model.grid.count(samples)
    work, moved = utterance_flops(config, samples, frames), activation_bytes(config, samples, frames)
    total = sum(work.values())
    print("| part | GFLOP | share | MB | FLOP per byte |\n| --- | --- | --- | --- | --- |")
    for part, flops in [*work.items(), ("all", total)]:
        size = sum(moved.values()) if part == "all" else moved[part]
        columns = (f"{flops / seconds / 1e9:.1f}", f"{flops / total:.1%}", f"{size / seconds / 1e6:.0f}")
        print(f"| {part} | {' | '.join(columns)} | {flops / size:.0f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "base", float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
