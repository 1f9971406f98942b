"""Parts of what a checkpoint holds: heads that a format cannot have, and a decoder that may be of another kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import tiny_config
from safetensors.torch import save_file

from emotion2vec.checkpoint.native import read_tensors
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import check_finite, decoder_dimensions, dimensions_of
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import FurtherHead, HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.decoder import Decoder


def test_a_source_without_its_further_heads_has_all_of_the_rest() -> None:
    names = ["backbone.tokens", "head.weight", "further.0.weight", "further.1.bias"]
    student = {name: torch.zeros(1) for name in names}
    source = Source("native", Path("m"), [], tiny_config().model, student, notes=["read"])
    assert source.without_further() is source
    source.further = tuple(FurtherHead(target, ("high", "low"), HeadConfig()) for target in ("pitch", "age"))
    found = source.without_further()
    assert (list(found.student), found.further) == (["backbone.tokens", "head.weight"], ())
    assert found.notes == ["read", "left out, as the format holds the main head alone: the heads of pitch, age"]
    assert list(source.student) == names and len(source.further) == 2


def test_the_dimensions_of_a_decoder_are_those_that_it_was_built_with() -> None:
    config = tiny_config()
    weights = Decoder(config.decoder, config.model.width).state_dict()
    found = decoder_dimensions(weights)
    assert found is not None
    for name in ("width", "layers", "kernel", "groups"):
        assert getattr(found, name) == getattr(config.decoder, name)


@pytest.mark.parametrize("shape", [(8, 4), (8,), (), (8, 0, 3), (8, 4, 3, 1)])
def test_weights_of_another_decoder_have_no_dimensions(shape: tuple[int, ...]) -> None:
    convs = {f"convs.{number}.weight": torch.zeros(8, 4, 3) for number in range(2)}
    weights = {**convs, "proj.weight": torch.zeros(16, 8)}
    assert decoder_dimensions(weights) is not None
    assert decoder_dimensions(weights | {"convs.0.weight": torch.zeros(shape)}) is None
    assert decoder_dimensions(convs) is decoder_dimensions({"proj.weight": weights["proj.weight"]}) is None
    assert decoder_dimensions(weights | {"proj.weight": torch.zeros(16)}) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_numbers_of_a_tensor_must_be_finite(dtype: torch.dtype) -> None:
    largest = torch.full((3, 4), torch.finfo(dtype).max, dtype=dtype)
    check_finite("w", largest, "m")
    for wrong in (float("nan"), float("inf"), -float("inf")):
        broken = largest.clone()
        broken[1, 2] = broken[0, 0] = wrong
        with pytest.raises(CheckpointError, match="m: 2 of 12 numbers of w are NaN or infinite"):
            check_finite("w", broken, "m")
    check_finite("w", torch.full((3,), torch.iinfo(torch.int64).max), "m")


def test_dimensions_are_those_of_the_network_or_refused() -> None:
    config = tiny_config().model
    weights = Emotion2vec(config).state_dict()
    found = dimensions_of(weights, "m", [])
    unseen = {name: getattr(found, name) for name in ("dropout", "attention_dropout", "layerdrop")}
    assert found == replace(config, **unseen)
    groups = "backbone.positions.convs.0.weight"
    with pytest.raises(CheckpointError, match="position_groups"):
        dimensions_of(weights | {groups: torch.zeros(32, 0, 3)}, "m", [])


def test_tensors_come_back_from_their_file_into_memory_of_their_own(tmp_path: Path) -> None:
    there = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}
    save_file(there, tmp_path / "w.safetensors")
    found = read_tensors(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    assert found.keys() == there.keys() and all(torch.equal(found[name], there[name]) for name in there)
