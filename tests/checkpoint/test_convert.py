"""Conversion: every format read back bit for bit, and compared with files of the original tools."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from networks import tiny_config
from torch import Tensor
from typer.testing import CliRunner

import emotion2vec
from emotion2vec.checkpoint import save_model
from emotion2vec.checkpoint.card import licence
from emotion2vec.checkpoint.formats.data2vec.names import state_to_fairseq
from emotion2vec.checkpoint.formats.data2vec.to_settings import model_settings
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.checkpoint.source import Source
from emotion2vec.cli import app
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.convert import WRITERS, convert
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.config import EmaConfig, LossConfig, MaskConfig
from emotion2vec.pretrain.network import Pretrainer

LABELS = ("生气/angry", "happy", "unuse_0", "<unk>")
FILES = ["native", "fairseq", "funasr", "huggingface"]
PLAIN = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}


def target(folder: Path, to: str) -> Path:
    return folder / (f"{to}.pt" if to == "fairseq" else to)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        value.dtype == theirs[name].dtype and torch.equal(value, theirs[name]) for name, value in ours.items()
    )


@pytest.fixture
def native(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, LABELS)
    save_model(tmp_path / "model", model.config, model.state_dict(), labels=LABELS)
    return tmp_path / "model"


@pytest.fixture
def whole(tmp_path: Path) -> Source:
    """Student, decoder, and a teacher with its own front end, as a run's checkpoint has them."""
    torch.manual_seed(0)
    config = tiny_config("ema.frontend=true")
    parts = Pretrainer(config)
    for weight in parts.teacher.parameters():
        weight.add_(1.0)
    return Source(
        "native",
        tmp_path,
        [],
        config.model,
        student=dict(parts.student.state_dict()),
        teacher=dict(parts.teacher.state_dict()),
        decoder=dict(parts.decoder.state_dict()),
        decoder_config=config.decoder,
    )


@pytest.mark.parametrize("to", FILES)
def test_round_trip_is_bit_exact(native: Path, tmp_path: Path, to: str) -> None:
    before = read_source(native)
    done = emotion2vec.convert(native, target(tmp_path, to), to=to)
    after = read_source(done.output)
    assert (done.read, after.format) == ("native", to)
    assert same(before.student, after.student)
    assert (after.config, after.labels) == (before.config, before.labels)
    again = read_source(emotion2vec.convert(done.output, tmp_path / "again", to="native").output)
    assert same(before.student, again.student) and again.labels == LABELS


@pytest.mark.parametrize("to", FILES)
def test_half_precision_stays_half(native: Path, tmp_path: Path, to: str) -> None:
    before = read_source(native)
    save_model(tmp_path / "half", before.config, {name: x.half() for name, x in before.student.items()}, labels=LABELS)
    convert(tmp_path / "half", target(tmp_path, to), to=to)
    assert same(read_source(tmp_path / "half").student, read_source(target(tmp_path, to)).student)


def test_fairseq_keeps_teacher_and_decoder(whole: Source, tmp_path: Path) -> None:
    WRITERS["fairseq"](whole, tmp_path / "run.pt")
    after = read_source(tmp_path / "run.pt")
    assert same(whole.student, after.student)
    assert same(whole.teacher, after.teacher)
    assert same(whole.decoder, after.decoder)
    assert after.decoder_config is not None and whole.decoder_config is not None
    assert after.decoder_config.groups == whole.decoder_config.groups


def test_the_teacher_can_become_the_model(whole: Source, tmp_path: Path) -> None:
    WRITERS["fairseq"](whole, tmp_path / "run.pt")
    convert(tmp_path / "run.pt", tmp_path / "teacher", to="native", use="teacher")
    assert same(read_source(tmp_path / "teacher").student, whole.teacher)


@pytest.mark.parametrize("to", ["native", "huggingface", "funasr"])
def test_what_is_left_out_is_said(whole: Source, tmp_path: Path, to: str) -> None:
    assert "teacher" in WRITERS[to](whole, tmp_path / to)[0]


@pytest.mark.parametrize("to", ["fairseq", "funasr"])
def test_pickles_hold_no_classes(whole: Source, tmp_path: Path, to: str) -> None:
    WRITERS[to](whole, target(tmp_path, to))
    path = target(tmp_path, to) / ("" if to == "fairseq" else "model.pt")
    with zipfile.ZipFile(path) as archive:
        data = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    named = {str(value) for code, value, _ in pickletools.genops(data) if code.name in ("GLOBAL", "STACK_GLOBAL")}
    assert named - {name for name in named if name.startswith("torch ")} == PLAIN & named
    torch.load(path, weights_only=True)


def test_saved_views_do_not_bring_their_storage_along(whole: Source, tmp_path: Path) -> None:
    WRITERS["fairseq"](whole, tmp_path / "plain.pt")
    base = torch.zeros(1_000_000)
    whole.student["backbone.alibi_scale"] = base[:4]
    WRITERS["fairseq"](whole, tmp_path / "view.pt")
    assert (tmp_path / "view.pt").stat().st_size < (tmp_path / "plain.pt").stat().st_size + 10_000


def test_fairseq_checkpoint_holds_what_fairseq_wrote(shared: Path, tmp_path: Path) -> None:
    """The trainer's own file, read and written again, has the same names, weights, and settings of the network."""
    original = shared / "golden" / "data2vec2_tiny" / "fairseq_checkpoint.pt"
    convert(original, tmp_path / "ours.pt", to="fairseq")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    theirs = torch.load(original, weights_only=False)
    own, ema = dict(ours["model"]), dict(theirs["model"])
    assert same(own.pop("_ema"), dict(ema.pop("_ema")))
    assert same(own, ema)
    for part in (lambda cfg: cfg["model"], lambda cfg: cfg["model"]["modalities"]["audio"]):
        mine, reference = part(ours["cfg"]), part(theirs["cfg"])
        training = {"clone_batch", "max_update", "seed", "ema_anneal_end_step", "average_top_k_layers", "modalities"}
        spelled = {"feature_encoder_spec", "num_alibi_heads", "model_depth", "decoder", "mask_noise_std"}
        keys = reference.keys() - training - spelled
        assert {key: mine[key] for key in keys} == {key: reference[key] for key in keys}


def test_funasr_folder_holds_what_funasr_has(shared: Path, tmp_path: Path) -> None:
    original = shared / "golden" / "data2vec2_tiny" / "funasr_model"
    convert(original, tmp_path / "ours", to="funasr")
    ours, theirs = (torch.load(folder / "model.pt")["model"] for folder in (tmp_path / "ours", original))
    assert same(ours, dict(theirs))
    mine, reference = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (tmp_path / "ours", original))
    assert mine["scope_map"] == reference["scope_map"]
    assert mine["model_conf"].keys() >= reference["model_conf"].keys() - {"cls_type"}
    assert (tmp_path / "ours" / "tokens.txt").read_text().split() == (original / "tokens.txt").read_text().split()


def test_folders_for_people_have_a_card(native: Path, tmp_path: Path) -> None:
    for to in ("huggingface", "funasr"):
        convert(native, tmp_path / to, to=to)
        card = (tmp_path / to / "README.md").read_text()
        assert card.startswith("---\nlibrary_name:") and "生气/angry" in card and "SHA-256" in card
        assert yaml.safe_load(card.split("---")[1])["license"] == "unknown"


def test_card_states_the_licence_of_the_original(native: Path, tmp_path: Path) -> None:
    (native / "README.md").write_text(
        "---\nlicense: other\nlicense_name: 'a: b'\nlicense_link: https://x.org\ndataset:\n  license: mit\n---\n# A\n"
    )
    convert(native, tmp_path / "card", to="huggingface")
    (native / "README.md").write_text("---\nlicense:\n- mit\n- apache-2.0\ndataset:\n  license: gpl\n---\n")
    assert licence(native) == {"license": "mit, apache-2.0"}
    (native / "README.md").write_text("---\nlicense: [mit\n---\n")
    assert licence(native) == {}
    (native / "README.md").unlink()
    (native / "LICENSE").write_text("Research licence: ask first\n\nTerms\n")
    convert(native, tmp_path / "file", to="huggingface")
    cards = [(tmp_path / name / "README.md").read_text() for name in ("card", "file")]
    stated = [
        {key: value for key, value in yaml.safe_load(card.split("---")[1]).items() if "licen" in key} for card in cards
    ]
    assert stated[0] == {"license": "other", "license_name": "a: b", "license_link": "https://x.org"}
    assert stated[1] == {"license": "other", "license_name": "Research licence: ask first"}
    assert "as the files beside them state it: Research licence: ask first." in cards[1]


@pytest.mark.parametrize(
    ("output", "to", "expected"),
    [
        ("x", "keras", "to is 'keras', expected one of native, fairseq, funasr, huggingface, onnx-ready"),
        ("model", "native", "is there already"),
        ("x", "fairseq", "expected a path that ends in .pt"),
        ("x.pt", "native", "expected a path without .pt"),
    ],
)
def test_wrong_wishes_write_nothing(native: Path, tmp_path: Path, output: str, to: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        convert(native, tmp_path / output, to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_labels_that_funasr_cannot_hold(native: Path, tmp_path: Path) -> None:
    before = read_source(native)
    labels = ("unuse", "two\nlines", "unuse", "end ")
    save_model(tmp_path / "odd", before.config, before.student, labels=labels)
    with pytest.raises(CheckpointError) as raised:
        convert(tmp_path / "odd", tmp_path / "out", to="funasr")
    assert all(fault in str(raised.value) for fault in ("'two\\nlines'", "'end '", "'unuse' is there twice"))
    assert not (tmp_path / "out").exists()


def test_dimensions_that_fairseq_cannot_say(tmp_path: Path) -> None:
    model = Emotion2vec(tiny_config("model.position_width=5").model)
    save_model(tmp_path / "small", model.config, model.state_dict())
    with pytest.raises(CheckpointError, match="positional convolutions' kernel is 1, expected at least 3"):
        convert(tmp_path / "small", tmp_path / "out.pt", to="fairseq")


def test_an_interrupted_conversion_leaves_nothing(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    for to in ("fairseq", "funasr"):
        with pytest.raises(KeyboardInterrupt):
            convert(native, target(tmp_path, to), to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_names_that_fairseq_does_not_have() -> None:
    with pytest.raises(CheckpointError, match="does not have: backbone"):
        state_to_fairseq({"backbone.extra": torch.zeros(1)})


def test_command_line(native: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(native), str(tmp_path / "out.pt"), "--to", "fairseq"])
    assert done.exit_code == 0, done.output
    assert "native -> fairseq" in done.output and "no head" in done.output
    assert read_source(tmp_path / "out.pt").labels == LABELS


def test_what_fairseq_is_told_of_training_is_the_base_recipe() -> None:
    ema, mask = EmaConfig(), MaskConfig()
    settings = model_settings(Source("native", Path(), [], Emotion2vecConfig(), {}))
    told = [settings[key] for key in ("clone_batch", "ema_decay", "ema_end_decay", "ema_anneal_end_step")]
    assert told == [mask.views, ema.decay, ema.end_decay, ema.anneal_updates]
    assert settings["average_top_k_layers"] == LossConfig().top_k
    audio = settings["modalities"]["audio"]
    assert [audio[key] for key in ("mask_prob", "mask_prob_adjust", "mask_length")] == [
        mask.prob,
        mask.adjust,
        mask.span,
    ]
