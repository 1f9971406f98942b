"""A model's own head goes on learning, whole or in rows, where labels are the data's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finetune.talkers import SMALL, quick_config

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.own_head import start_head
from emotion2vec.finetune.run import finetune
from emotion2vec.model.config import HEADS, HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.known_heads import build_head

NINE = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "unuse_7",
)


def with_head(labels: tuple[str, ...], kind: str = "mean", pooling: str = "mean") -> Emotion2vec:
    torch.manual_seed(0)
    encoder = Emotion2vec(SMALL)
    encoder.head = build_head(HeadConfig(kind=kind, pooling=pooling), SMALL.width, SMALL.depth, labels)
    return encoder.eval()


def silent(text: str) -> None:
    pass


@pytest.mark.parametrize("kind", HEADS)
@torch.inference_mode()
def test_rows_keep_their_scores(kind: str) -> None:
    encoder = with_head(NINE, kind)
    assert encoder.head is not None
    head = start_head(encoder, HeadConfig(), ["sadness", "anger", "boredom", "neutral"], "rows", silent)
    assert head is not None and head.labels == ("sadness", "anger", "boredom", "neutral")
    layers = (3, SMALL.depth, 9, SMALL.width) if encoder.head.reads_layers else (3, 9, SMALL.width)
    frames = torch.randn(layers)
    kept, before = head.eval()(frames), encoder.head.eval()(frames)
    torch.testing.assert_close(kept[:, [0, 1, 3]], before[:, [6, 0, 4]])


def test_equal_labels_in_another_order_are_the_same_head() -> None:
    said: list[str] = []
    head = start_head(with_head(("b", "a")), HeadConfig(pooling="mean+std"), ["a", "b"], "auto", said.append)
    assert head is not None and head.labels == ("a", "b")
    assert said == ["the model's own head (mean) goes on learning a, b"]
    assert start_head(with_head(("b", "a")), HeadConfig(), ["a", "b"], "new", silent) is None


def test_labels_that_differ_are_named() -> None:
    encoder, said = with_head(("a", "b", "c")), []
    assert start_head(encoder, HeadConfig(), ["a", "d"], "auto", said.append) is None
    assert said[0].startswith("the model's own head has b, c, which the data has not and lacks d: a new head learns; ")
    with pytest.raises(ConfigError, match=r"finetune.head is own and the model's own head has b, c, .* lacks d; data"):
        start_head(encoder, HeadConfig(), ["a", "d"], "own", silent)
    with pytest.raises(ConfigError, match=r"finetune.head is rows and the model's own head has a, b, c"):
        start_head(encoder, HeadConfig(), ["x", "y"], "rows", silent)
    with pytest.raises(ConfigError, match=r"finetune.head is own and the model has no head, expected one of classes"):
        start_head(Emotion2vec(SMALL), HeadConfig(), ["x", "y"], "own", silent)
    with pytest.raises(ConfigError, match="the model has a head of classes, expected one of values"):
        start_head(encoder, HeadConfig(task="values"), ["arousal"], "own", silent)


def test_a_run_starts_where_the_model_was(talkers: Path, tmp_path: Path) -> None:
    encoder = with_head(("sadness", "neutral", "anger"), pooling="mean+std")
    assert encoder.head is not None
    save_model(tmp_path / "m", SMALL, encoder.state_dict(), labels=encoder.head.labels, head=encoder.head.config)
    more = ["finetune.strategy=frozen", "optim.max_updates=1", "optim.lr=1e-9", "finetune.calibrate=false"]
    config = quick_config(talkers, tmp_path / "m", tmp_path / "run", *more)
    finetune(config, silent)
    (clip,) = sorted(talkers.parent.glob("s0_anger_0.wav"))
    before, after = (load_model(folder).predict(clip) for folder in (tmp_path / "m", tmp_path / "run"))
    assert after == pytest.approx(before, abs=1e-4)
    finetune(
        replace(
            config, run=replace(config.run, dir=str(tmp_path / "other")), finetune=replace(config.finetune, head="new")
        ),
        silent,
    )
    assert load_model(tmp_path / "other").predict(clip) != pytest.approx(before, abs=1e-2)
