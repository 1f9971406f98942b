"""Warm starts: what is taken, what is new, what is left, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden import Golden
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource
from networks import tiny_config

from emotion2vec.checkpoint import save_model
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.data.sources import CutSource
from emotion2vec.errors import CheckpointError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.run import build_pretrainer
from emotion2vec.training.run import named_by_files


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "data2vec2_tiny"


def config_from(folder: Path, source: Path) -> PretrainConfig:
    """The golden network's configuration, warm-started."""
    config = Golden(folder).config
    config.init.from_ = str(source)
    return config


def test_everything_of_a_pretraining_checkpoint_is_taken(golden: Path) -> None:
    said: list[str] = []
    config = config_from(golden, golden / "fairseq_checkpoint.pt")
    started, _ = build_pretrainer(config, said.append)
    there = read_source(golden / "fairseq_checkpoint.pt")
    assert all(torch.equal(value, there.student[name]) for name, value in started.student.state_dict().items())
    assert all(torch.equal(value, there.decoder[name]) for name, value in started.decoder.state_dict().items())
    student = started.student.backbone.state_dict()
    assert all(torch.equal(value, student[name]) for name, value in started.teacher.backbone.state_dict().items())
    assert said[0].endswith("(fairseq, student): 100.0 % of the network's weights")
    assert any(line == "  left there: the teacher (86 weights)" for line in said)
    config.init.use = "teacher"
    started, _ = build_pretrainer(config, said.append)
    assert torch.equal(started.student.backbone.prenet_norm.weight, there.teacher["backbone.prenet_norm.weight"])


def test_blocks_are_renumbered_and_tokens_decoder_and_head_reported(golden: Path) -> None:
    said: list[str] = []
    config = config_from(golden, golden / "fairseq_finetuned.pt")
    config.model.prenet_depth, config.model.depth, config.model.tokens = 3, 3, 1
    config.loss.top_k, config.decoder.width = 2, 48
    started, _ = build_pretrainer(config, said.append)
    there = read_source(golden / "fairseq_finetuned.pt").student
    assert torch.equal(started.student.backbone.prenet[2].fc1.weight, there["backbone.blocks.0.fc1.weight"])
    assert torch.equal(started.student.backbone.blocks[2].fc1.weight, there["backbone.blocks.3.fc1.weight"])
    assert started.student.backbone.tokens is not None and started.student.backbone.tokens.abs().max() == 0
    text = "\n".join(said)
    assert "  new: backbone.tokens, decoder (10)\n" in text
    assert "backbone.prenet (36), backbone.blocks (36)" in text
    assert "left there: backbone.tokens, head.weight, head.bias, decoder (10)" in text


def test_a_file_that_shares_too_little_is_refused(golden: Path) -> None:
    config = config_from(golden, golden / "fairseq_checkpoint.pt")
    config.model.ffn_width, config.init.min_share = 96, 0.9
    with pytest.raises(CheckpointError) as raised:
        build_pretrainer(config, lambda line: None)
    text = str(raised.value)
    kept = sum(v.numel() for name, v in Emotion2vec(config.model).state_dict().items() if "fc1" not in name)
    kept -= 6 * 96 * 48  # the second half of the FFN, in six blocks
    share = kept / sum(value.numel() for value in Emotion2vec(config.model).state_dict().values())
    assert f"shares {100 * share:.1f} % of the network's weights, expected at least init.min_share (90 %)" in text
    assert "backbone.blocks.3.fc2.weight has shape (48, 192) there, expected (48, 96)" in text
    config.init.min_share = 0.5
    build_pretrainer(config, lambda line: None)


def test_dimensions_that_shapes_do_not_show_must_agree(tmp_path: Path) -> None:
    network = Emotion2vec(tiny_config("model.strides=[5,2,2,2,2,2,1]", "model.heads=2").model)
    save_model(tmp_path / "model", network.config, network.state_dict())
    with pytest.raises(CheckpointError) as raised:
        build_pretrainer(tiny_config(f"init.from={tmp_path / 'model'}"), lambda line: None)
    assert "model.strides is [5, 2, 2, 2, 2, 2, 1] there and [5, 2, 2, 2, 2, 2, 2] here" in str(raised.value)
    assert "model.heads is 2 there and 4 here" in str(raised.value)


def test_weights_of_another_kind_of_network_are_refused(tmp_path: Path) -> None:
    network = Emotion2vec(tiny_config("model.norm=pre", "model.positions=sinusoid").model)
    save_model(tmp_path / "model", network.config, network.state_dict())
    with pytest.raises(CheckpointError) as raised:
        build_pretrainer(tiny_config(f"init.from={tmp_path / 'model'}"), lambda line: None)
    assert "model.norm is pre there and post here" in str(raised.value)
    assert "model.positions is sinusoid there and convolution here" in str(raised.value)


def test_what_the_weights_have_heard_is_known_to_the_run(tmp_path: Path) -> None:
    """And nothing is claimed of weights that do not say."""
    config = tiny_config()
    network, heard = build_pretrainer(config, lambda line: None)
    assert heard is not None and not heard
    for name, known in (("knowing", Heard().with_more(audio=[1, 2])), ("silent", None)):
        save_model(tmp_path / name, config.model, network.student.state_dict(), heard=known)
        _, found = build_pretrainer(tiny_config(f"init.from={tmp_path / name}"), lambda line: None)
        assert (found is None) if known is None else (found is not None and found.audio.tolist() == [1, 2])


def test_lists_that_give_other_names_than_the_files_are_told_apart() -> None:
    def source(name: str, path: str) -> CutSource:
        recording = Recording(name, [AudioSource("file", [0], path)], 16_000, 16_000, 1.0, [0])
        return CutSource([MonoCut(id=name, start=0.0, duration=1.0, channel=0, recording=recording)])

    assert named_by_files([source("a/clip.7.wav", "/data/a/clip.7.wav"), source("clip.7.wav#2", "/data/b/clip.7.flac")])
    assert not named_by_files([source("a.wav", "/data/a.wav"), source("ased-a5-02", "/data/a5-02.wav")])
    assert not named_by_files([source("a_0.2_1.0", "/data/a.wav")])
