"""What cannot work is said before anything is computed, all at once, in a sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest
from distil.students import LOGMEL, STUDENT, WAVEFORM, save_teacher, settings, student_config

from emotion2vec.assets import asset_folder
from emotion2vec.distil.checks import load_config
from emotion2vec.distil.config import DistilConfig, check_config, terms, without_effect
from emotion2vec.errors import ConfigError
from emotion2vec.training.config import load


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    slow = {**LOGMEL, "strides": [2, 2]}
    known = {**LOGMEL, "max_frames": 50}
    kinds: dict[str, dict[str, object]] = {"mel": LOGMEL, "waveform": WAVEFORM, "slow": slow, "known": known}
    return {name: save_teacher(folder / name, **kind) for name, kind in kinds.items()}


@pytest.mark.parametrize(
    ("teacher", "more", "expected"),
    [
        ("mel", ["target.layers=[2,4,9]"], ["target.layers has 4, 9, expected 1 to 3, the blocks of teacher"]),
        ("mel", ["target.layers=[]"], ["target.layers is empty"]),
        ("mel", ["target.layers=[0]"], ["target.layers is [0], expected >= 1"]),
        ("mel", ["target.student_layers=[3,4]"], ["target.student_layers has 4, expected 1 to 3"]),
        ("mel", ["target.student_layers=[1,2]"], ["target.student_layers ends with 2, expected the last block (3)"]),
        ("mel", ["target.student_layers=[3]"], ["target.student_layers has 1 values and target.layers 2"]),
        ("mel", ["target.layers=[2,2]"], ["target.layers names one layer twice"]),
        ("mel", ["target.frames=[all,some]"], ["target.frames has some, expected all, input, middle"]),
        ("mel", ["target.weights=[-1,1]"], ["target.weights is [-1.0, 1.0], expected >= 0"]),
        ("mel", ["augment.speed_prob=0.5"], ["augment.speed_prob is 0.5, expected 0"]),
        ("mel", ["augment.shift_prob=0.5"], ["augment.shift_prob is 0.5, expected 0"]),
        ("mel", ["loss.soft=1"], ["loss.soft is 1, but teacher", "has no head"]),
        ("mel", ["mask.moderate=0.7"], ["mask.moderate is 0.7, expected at most mask.loud (0.5)"]),
        ("mel", ["init.layers=[1,2]"], ["init.layers has 2 values, expected one for each of 3 blocks"]),
        ("mel", ["init.layers=[1,2,7]"], ["init.layers has 7, expected 1 to 3"]),
        ("mel", ["init.from_teacher=true", "init.from=x"], ["init.from is x and init.from_teacher"]),
        ("mel", ["init.from_teacher=true", "model.depth=4"], ["the student has 4 blocks, expected at most 3"]),
        (
            "waveform",
            ["init.from_teacher=true"],
            ["dimensions differ: model.frontend is waveform there and logmel"],
        ),
        ("slow", [], ["25 frames per second (one every 640 samples) and the student 50 (one every 320)"]),
        ("known", [], ["data.max_samples gives 100 frames, expected at most the 50 that teacher"]),
        ("mel", ["model.max_frames=60"], ["gives 100 frames, expected at most the 60 that the student"]),
        ("slow", ["target.layers=[7]", "optim.lr=0"], ["target.layers has 7", "25 frames per second", "optim.lr is 0"]),
    ],
)
def test_faults(teachers: dict[str, Path], teacher: str, more: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        student_config(teachers[teacher], *more)
    for words in expected:
        assert words in str(raised.value)


@pytest.mark.parametrize("name", ["", "/nowhere", "broken", "hf:nobody/nothing"])
def test_a_teacher_that_is_not_there_is_one_fault_among_others(name: str, tmp_path: Path) -> None:
    """One on a hub is not asked for while something else is wrong."""
    if name == "broken":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "model.json").write_text("{")
        name = str(tmp_path / "broken")
    with pytest.raises(ConfigError) as raised:
        load_config(None, [*STUDENT, f"teacher={name}", "optim.lr=0"])
    said = str(raised.value)
    assert "optim.lr is 0" in said and "run.dir is empty" in said
    assert ("teacher is empty" in said) == (name == "") and (f"teacher cannot be read: {name}" in said) == (
        name[:1] == "/"
    )


def test_terms_have_names_of_their_own(teachers: dict[str, Path]) -> None:
    more = ["target.layers=[2,3,2]", "target.student_layers=[2,3,3]", "target.frames=[input,middle,all]"]
    config = student_config(teachers["mel"], *more)
    assert [term.name for term in terms(config)] == ["2_at_2_input", "3", "2_at_3_all"]
    plain = student_config(teachers["mel"])
    assert [(term.layer, term.student, term.frames, term.weight) for term in terms(plain)] == [
        (2, 3, "all", 1.0),
        (3, 3, "all", 1.0),
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], []),
        (["loss.temperature=2"], ["loss.temperature is 2.0, which has no effect: loss.soft is 0"]),
        (["mask.share=0.5"], ["mask.share is 0.5, which has no effect"]),
        (["target.frames=[input,all]", "mask.middle_span=20"], ["mask.middle_span is 20"]),
        (["init.min_share=0.2"], ["init.min_share is 0.2"]),
        (["guard.min_target_std=0"], ["guard.min_target_std is 0.0"]),
    ],
)
def test_settings_without_effect(teachers: dict[str, Path], more: list[str], expected: list[str]) -> None:
    config = load(DistilConfig, None, [*settings(teachers["mel"]), "data.audio_per_update=900", *more], check_config)
    found = [line for line in without_effect(config) if not line.startswith("data.")]
    assert len(found) == len(expected) and all(map(str.startswith, found, expected))


@pytest.mark.parametrize("name", ["compact", "vesper", "distilhubert"])
def test_shipped_configurations_can_be_read(name: str) -> None:
    required = ["teacher=t", "data.train=d", "run.dir=r"]
    config = load(DistilConfig, asset_folder("configs") / "distil" / f"{name}.yaml", required, check_config)
    assert len(terms(config)) == {"compact": 2, "vesper": 3, "distilhubert": 3}[name]
