"""Checkpoints with their first blocks alone, and in other types of numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import tiny_config, waveforms

from emotion2vec.checkpoint.native import save_model
from emotion2vec.checkpoint.opening import load_model, read_source
from emotion2vec.errors import ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.model.encoder import Emotion2vec


def saved(folder: Path, *overrides: str, labels: tuple[str, ...] = ()) -> Path:
    config = tiny_config("model.prenet_depth=1", "model.depth=3", *overrides).model
    torch.manual_seed(0)
    save_model(folder, config, Emotion2vec(config, labels).state_dict(), labels=labels)
    return folder


@pytest.mark.parametrize("norm", [[], ["model.norm=pre", "model.final_norm=true"]])
def test_the_first_blocks_give_what_they_gave(norm: list[str], tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", *norm, labels=("a", "b"))
    done = convert(whole, tmp_path / "cut", to="native", keep_layers=2)
    assert "the first 2 of 4 blocks, without head" in done.notes
    before, after = load_model(whole), load_model(tmp_path / "cut")
    assert (after.config.prenet_depth, after.config.depth, after.config.final_norm) == (1, 1, False)
    assert after.head is None
    x = waveforms(2, 8_000)
    with torch.no_grad():
        expected, found = before(x), after(x)
    torch.testing.assert_close(found.frames, expected.layers[1])
    assert len(found.layers) == 2


def test_all_blocks_are_the_whole_model(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", labels=("a", "b"))
    convert(whole, tmp_path / "same", to="native", keep_layers=4)
    assert load_model(tmp_path / "same").head is not None


@pytest.mark.parametrize("layers", [0, 1, 5, -1])
def test_numbers_that_cannot_be_are_refused(layers: int, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole")
    with pytest.raises(ConfigError, match=f"keep_layers is {layers}, expected 2 to 4"):
        convert(whole, tmp_path / "cut", to="native", keep_layers=layers)
    assert not (tmp_path / "cut").exists()


@pytest.mark.parametrize(("dtype", "digits"), [("fp16", 1e-3), ("bf16", 8e-3), ("fp32", 0)])
def test_weights_are_rounded_to_the_type_that_is_asked_for(dtype: str, digits: float, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", labels=("a", "b"))
    done = convert(whole, tmp_path / dtype, dtype=dtype)
    before, after = read_source(whole).student, read_source(done.output).student
    assert before.keys() == after.keys()
    for name, value in after.items():
        assert value.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
        torch.testing.assert_close(value.float(), before[name], rtol=digits, atol=1e-7)
    assert load_model(done.output).head is not None


def test_weights_that_a_type_cannot_hold_are_named(tmp_path: Path) -> None:
    config = tiny_config().model
    network = Emotion2vec(config)
    with torch.no_grad():
        network.backbone.blocks[0].fc1.weight[0, 0] = 1e5
    save_model(tmp_path / "whole", config, network.state_dict())
    with pytest.raises(ConfigError, match=r"dtype is fp16, but .*whole has larger numbers in backbone\.blocks\.0\.fc1"):
        convert(tmp_path / "whole", tmp_path / "out", dtype="fp16")
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "whole", tmp_path / "out", dtype="bf16")


def test_types_that_there_are_not_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole")
    with pytest.raises(ConfigError, match="dtype is 'int4', expected fp32, fp16, bf16"):
        convert(whole, tmp_path / "out", dtype="int4")
    with pytest.raises(ConfigError, match="onnx-ready is a graph that computes in fp32"):
        convert(whole, tmp_path / "out", to="onnx-ready", dtype="fp16")
