"""The configuration: strict, complete in its complaints, and without dead fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.config import PretrainConfig, load_config, without_effect
from emotion2vec.settings import to_dict, to_yaml
from emotion2vec.training.checks import batches_per_device

REQUIRED = ["data.train=/speech", "run.dir=runs/x"]
SHIPPED = ["tiny", "small", "base", "large"]


def faults(*overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(None, [*REQUIRED, *overrides])
    return str(raised.value)


def sections() -> dict[str, type]:
    found = {item.name: type(getattr(PretrainConfig(), item.name)) for item in dataclasses.fields(PretrainConfig)}
    return {name: kind for name, kind in found.items() if dataclasses.is_dataclass(kind)}


def test_overrides_and_types() -> None:
    config = load_config(None, [*REQUIRED, "optim.lr=5e-4", "init.from=some/model", "data.train=[a,b]"])
    assert (config.optim.lr, config.init.from_, config.data.train) == (5e-4, "some/model", ["a", "b"])
    assert load_config(None, REQUIRED).data.train == ["/speech"]


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load_config(None, [*REQUIRED, "optim.lr=3e-5", "init.from=x", "loss.utterance=global"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_scientific_notation_in_yaml_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("optim:\n  lr: 5e-4\n  eps: 1e-7\n")
    config = load_config(tmp_path / "c.yaml", REQUIRED)
    assert (config.optim.lr, config.optim.eps) == (5e-4, 1e-7)


def test_unknown_keys_list_near_matches() -> None:
    assert "unknown key optim.learning_rate" in faults("optim.learning_rate=1")
    assert "unknown key optim.max_update; did you mean optim.max_updates" in faults("optim.max_update=1")
    assert "unknown key lr; did you mean optim.lr?" in faults("lr=1")
    assert "unknown key optim.learning_rate; did you mean optim.lr?" in faults("optim.learning_rate=1")
    assert "unknown key num_gpus; did you mean run.devices?" in faults("num_gpus=2")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=-1", "optim.lr is -1.0, expected > 0"),
        ("mask.prob=1.5", "mask.prob is 1.5, expected > 0 and < 1"),
        ("model.kernels=[10,0,3,3,3,2,2]", "model.kernels is [10, 0, 3, 3, 3, 2, 2], expected >= 1"),
        ("optim.max_updates=abc", "optim.max_updates is 'abc' (str), expected int"),
        ("loss.utterance=chunks", "loss.utterance is 'chunks', expected one of none, token, chunk, global"),
        ("model.width=100", "model.width is 100, expected a multiple of model.heads (12)"),
        ("loss.utterance=token", "loss.utterance is token and model.tokens is 10, expected model.tokens=1"),
        ("loss.top_k=9", "loss.top_k is 9, expected at most model.depth (8)"),
        ("model.max_frames=900", "data.max_samples gives 999 frames, expected at most model.max_frames (900)"),
        ("data.cache=true", "data.cache is on and data.workers is 2, expected data.workers=0"),
        ("decoder.kernel=6", "decoder.kernel is 6, expected an odd number of frames"),
        ("mask.adjust=0.5", "mask.prob + mask.adjust is 1, expected below 1"),
        (
            "data.batch_seconds=5",
            "data.max_samples is 320000, expected at most data.batch_seconds (5 s, 80000 samples)",
        ),
        ("data.weights=[1,2]", "data.weights has 2 values and data.train 1, expected one each"),
        ("data.weights=[0]", "data.weights is [0.0], expected > 0"),
        ("augment.noise_prob=0.1", "augment.noise_prob is 0.1 and augment.noise empty, expected a list of noise"),
        ("augment.speed_low=1.2", "augment.speed_low is 1.2, expected at most augment.speed_high (1.1)"),
        ("data.length_step=9000", "data.length_step is 9000, expected at most data.min_samples"),
        ("optim.lr", "override 'optim.lr' has no value, expected section.key=value"),
    ],
)
def test_a_fault_names_field_value_and_expectation(override: str, message: str) -> None:
    assert message in faults(override)


def test_all_faults_come_at_once() -> None:
    text = faults("optim.lr=-1", "optim.beta1=x", "nope.nope=1", "model.width=100")
    assert text.startswith("6 faults in the configuration:")  # width is no multiple of heads nor of either groups
    assert all(part in text for part in ("optim.lr", "optim.beta1", "nope.nope", "model.heads", "position_groups"))


def test_required_fields() -> None:
    with pytest.raises(ConfigError, match=r"data\.train is empty(.|\n)*run\.dir is empty"):
        load_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [("- a\n- b\n", "expected a mapping"), ("optim: {lr: [\n", "cannot be read as YAML"), (None, "no such file")],
)
def test_broken_files(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(path, REQUIRED)
    assert "c.yaml" in str(raised.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_are_valid(root: Path, name: str) -> None:
    load_config(root / "configs" / "pretrain" / f"{name}.yaml", REQUIRED)


def test_base_is_the_defaults(root: Path) -> None:
    assert load_config(root / "configs" / "pretrain" / "base.yaml", REQUIRED) == load_config(None, REQUIRED)


def test_large_is_data2vec_2_large(root: Path) -> None:
    config = to_dict(load_config(root / "configs" / "pretrain" / "large.yaml", REQUIRED))
    expected = {
        "model": {"width": 1024, "heads": 16, "prenet_depth": 8, "depth": 16, "layerdrop": 0.0},
        "mask": {"views": 12, "prob": 0.55, "adjust": 0.1},
        "decoder": {"width": 768},
        "loss": {"top_k": 16},
        "ema": {"decay": 0.9997, "end_decay": 1.0, "anneal_updates": 300_000},
        "optim": {"lr": 4e-4, "warmup_updates": 10_000, "max_updates": 600_000, "clip_norm": 1.0},
    }
    for section, values in expected.items():
        assert {key: config[section][key] for key in values} == values
    assert config["data"]["audio_per_update"] == 960


@pytest.mark.parametrize(
    ("name", "devices", "batches"),
    [
        ("base", 1, 24),
        ("base", 4, 6),
        ("base", 8, 3),
        ("base", 24, 1),
        ("large", 8, 6),
        ("small", 2, 1),
        ("tiny", 1, 1),
    ],
)
def test_an_update_holds_the_recipes_audio_on_any_number_of_devices(
    root: Path, name: str, devices: int, batches: int
) -> None:
    config = load_config(root / "configs" / "pretrain" / f"{name}.yaml", [*REQUIRED, f"run.devices={devices}"])
    assert batches_per_device(config, devices) == batches
    assert batches * devices * config.data.batch_seconds == config.data.audio_per_update


def test_audio_that_does_not_divide_is_refused() -> None:
    text = faults("run.devices=7")
    assert "data.audio_per_update is 900 s, which is not a whole number of batches" in text
    assert "7 devices, expected a multiple of 262.5 s, such as data.batch_seconds=32.14286 or" in text
    assert text.endswith("data.audio_per_update=787.5")
    for devices, remedy in ((7, "data.batch_seconds=32.14286"), (7, "data.audio_per_update=787.5")):
        assert batches_per_device(load_config(None, [*REQUIRED, f"run.devices={devices}", remedy]), devices) > 0
    with pytest.raises(ConfigError, match="5 devices"):
        batches_per_device(load_config(None, REQUIRED), 5)  # as torchrun says, whatever run.devices is
    assert "data.batch_seconds=" not in faults("run.devices=64")  # which would be shorter than an utterance
    assert batches_per_device(load_config(None, [*REQUIRED, "optim.accumulate=2", "run.devices=7"]), 7) == 2


@pytest.mark.parametrize("name", SHIPPED)
def test_every_setting_of_shipped_configurations_has_an_effect(root: Path, name: str) -> None:
    assert without_effect(load_config(root / "configs" / "pretrain" / f"{name}.yaml", REQUIRED)) == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["optim.cnn_grad_scale=0.1"], ["optim.cnn_grad_scale is 0.1, which has no effect: Adam"]),
        (["optim.cnn_grad_scale=0", "optim.cnn_lr_scale=0.3"], ["optim.cnn_lr_scale is 0.3"]),
        (
            ["loss.utterance=none", "loss.alpha=0.5", "loss.utterance_target=plain"],
            ["loss.alpha", "loss.utterance_tar"],
        ),
        (["loss.alpha=0", "loss.utterance=global"], ["loss.utterance is 'global'"]),
        (["ema.anneal_updates=0", "ema.decay=0.99"], ["ema.decay is 0.99"]),
        (["optim.accumulate=2", "data.audio_per_update=75"], ["data.audio_per_update is 75.0"]),
        (["augment.noise=[x]", "augment.gain_db=3"], ["augment.noise is ['x']", "augment.gain_db is 3.0"]),
        (["init.use=teacher", "guard.max_spikes=3"], ["init.use is 'teacher'", "guard.max_spikes is 3"]),
        (
            ["validation.data=[x]", "probe.table=x", "probe.folds=session"],
            ["validation.data", "probe.table", "probe.folds"],
        ),
        (["optim.cnn_grad_scale=0", "augment.gain_prob=1", "augment.gain_db=3", "loss.utterance=none"], []),
    ],
)
def test_a_setting_without_effect_is_told(overrides: list[str], told: list[str]) -> None:
    found = without_effect(load_config(None, [*REQUIRED, *overrides]))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))


def test_every_field_says_what_it_means() -> None:
    for name, section in sections().items():
        for item in dataclasses.fields(section):
            assert len(item.metadata["help"]) > 10, f"{name}.{item.name}"
            assert "\n" not in item.metadata["help"]


def test_every_number_has_a_range() -> None:
    for name, section in sections().items():
        for item in dataclasses.fields(section):
            value = getattr(section(), item.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number:
                assert any(item.metadata[key] is not None for key in ("ge", "gt")), f"{name}.{item.name}"
