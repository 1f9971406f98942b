"""The compiled network: the same numbers, and few graphs for many shapes."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config, waveforms
from torch._dynamo.testing import CompileCounterWithBackend

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.pretrain.masking import batch_masks
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.training.optimizer import compile_parts


def gradients(
    model: Pretrainer, samples: int, rows: int, skip: frozenset[int] = frozenset()
) -> dict[str, torch.Tensor]:
    names = [str(number) for number in range(rows)]
    mask = batch_masks(names, WAVEFORM_GRID.count(samples), MaskConfig(views=2), seed=0, update=1)
    model.zero_grad(set_to_none=True)
    output = model(waveforms(rows, samples), mask, skip)
    (output.frame_loss / output.masked + output.utterance_loss / output.views).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Inductor has graphs of its own for sizes below 4,096, which every layer of a tiny network passes somewhere.
@pytest.mark.parametrize(
    ("backend", "settled", "most"), [("eager", 3, 12), pytest.param("inductor", 4, 20, marks=pytest.mark.slow)]
)
def test_compiled_gradients_and_number_of_graphs(backend: str, settled: int, most: int) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = Pretrainer(tiny_config())
    compiled = Pretrainer(tiny_config())
    compiled.load_state_dict(plain.state_dict())
    counter = CompileCounterWithBackend(backend)
    compile_parts(compiled, counter)  # type: ignore[arg-type]
    shapes = [(8_000, 2), (9_600, 3), (12_345, 2), (16_000, 4), (10_000, 5)]
    graphs = []
    for samples, rows in shapes:
        expected, found = gradients(plain, samples, rows), gradients(compiled, samples, rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
            )
        graphs.append(counter.frame_count)
    gradients(compiled, 9_000, 3, frozenset({1}))  # layerdrop leaves a block out
    gradients(compiled, 13_579, 3)
    assert graphs[settled - 1] == counter.frame_count <= most, graphs  # then nothing for a new shape
