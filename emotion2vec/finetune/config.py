"""How a model is fine-tuned: labelled speech, strategy, head and loss, beside what every run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.clusters.settings import ClusterSettings
from emotion2vec.corpora.folds import scheme_fault
from emotion2vec.data.config import SpeechConfig
from emotion2vec.finetune.entries import pair, part, scale
from emotion2vec.finetune.evaluation.settings import RobustnessSettings, check_robustness
from emotion2vec.finetune.joint import JointSettings, check_joint
from emotion2vec.finetune.learnt import FREEZES, STRATEGIES, HeadSettings, LoraConfig, StrategyConfig
from emotion2vec.finetune.losses import LossSettings, check_losses, idle_losses
from emotion2vec.finetune.spoken.settings import PhonemeSettings, check_phonemes
from emotion2vec.finetune.stages.settings import RetrainSettings, Stages, StageSettings, check_stages, idle_stages
from emotion2vec.finetune.texts import TextSettings, check_text
from emotion2vec.settings import option
from emotion2vec.training.checks import check_training, idle_settings, told
from emotion2vec.training.config import (
    CheckpointConfig,
    OptimConfig,
    TrainingConfig,
    ValidationConfig,
    load,
)

BALANCES = ("corpus-class", "class", "corpus", "none")


@dataclass(kw_only=True)
class LabelledData(SpeechConfig):
    """Labelled speech, and how it is drawn."""

    table: str = option("", "CSV, TSV or XLSX with columns file, emotion (or label) and speaker")
    root: str = option("", "folder that the table's paths start from; empty for the table's own")
    corpora: list[str] = option(
        [], "labelled corpora, joined: NAME=FOLDER of a known one, or NAME=TABLE or a folder with metadata.tsv"
    )
    split: str = option(
        "", "CSV, TSV or XLSX that says which clip (file or id) is of which split (train, valid, test) or fold"
    )
    classes: list[str] = option(
        [], "classes to learn; empty for all that there are; shared for those that every corpus has"
    )
    labels: list[str] = option(
        [], "other names of labels: anxiety=fear, or emodb.anxiety=fear for one corpus; boredom= leaves it out"
    )
    targets: list[str] = option([], "values to learn, such as arousal, in place of classes: columns of the table")
    ranges: list[str] = option(
        [],
        "scales of data.targets and joint.values: 1..5, or NAME=1..5 of a corpus, a value, or CORPUS.VALUE; values of "
        "corpora on different ones are brought to 0..1",
    )
    raters: list[str] = option(
        [], "columns of a table with raters' labels, whose shares are learnt; rows: a row for each rater"
    )
    soft: list[str] = option([], "columns of a table with probabilities, one of each class and named as it")
    weight: str = option("", "column of a table with what each clip counts; 1 where it is empty")
    max_bad_share: float = option(
        0.1, "stop when more than this share of the clips cannot be used; others are left out", ge=0, le=1
    )
    speakers: bool = option(True, "validate on held-out speakers; false for lists without speakers, which marks scores")
    licence: str = option("", "what the licence of the speech says, for the model's card")
    balance: str = option(
        "corpus-class", "what is drawn equally often: each class of each corpus, ...", choices=BALANCES
    )
    shares: list[str] = option(
        [], "share of the draws that a corpus gets, such as mine=0.5, whatever it has; the others get the rest"
    )
    clips: int = option(16, "clips of an update, of all devices together", ge=1)
    max_seconds: float = option(10.0, "longer clips are cropped at random to this in training, in s", gt=0.1)
    min_samples: int = option(1_600, "shorter clips are left out, in samples at 16 kHz", ge=800)

    @property
    def max_samples(self) -> int:
        """See `SpeechConfig`."""
        return round(self.max_seconds * SAMPLE_RATE)

    @property
    def budget(self) -> int:
        """See `SpeechConfig`: batches are of so many clips, whatever their lengths."""
        return self.clips * self.max_samples


@dataclass(kw_only=True)
class TuneOptim(OptimConfig):
    """AdamW with linear warm-up and cosine decay to zero, for head and encoder at rates of their own."""

    lr: float = option(1e-3, "peak learning rate of the head", gt=0)
    encoder_lr: float = option(
        3e-5, "peak learning rate of the encoder; adapters usually want a higher one than full", gt=0
    )
    layer_decay: float = option(1.0, "factor on the learning rate from each block to the one below it", gt=0, le=1)
    warmup_updates: int = option(50, "updates of linear warm-up; of a run that is no longer, a tenth of it", ge=0)
    max_updates: int = option(1_000, "updates of the whole run, where optim.epochs is 0", ge=1)
    epochs: float = option(
        0.0, "passes over as many clips as there are to train on, in place of optim.max_updates", ge=0
    )
    accumulate: int = option(1, "batches that an update's clips are shared out to on each device, by length", ge=1)


@dataclass(kw_only=True)
class TuneValidation(ValidationConfig):
    """Held-out speakers, by whose unweighted accuracy the best checkpoint is chosen."""

    every: int = option(100, "updates between validations; the last update is validated too", ge=1)
    share: float = option(0.2, "share of each corpus's training speakers that is held out, at least one", gt=0, lt=1)
    seconds: float = option(3600.0, "held-out audio at most, kept decoded in memory, in s", gt=0)
    refit: bool = option(
        False, "train a second model, of all clips, for as many updates as the best checkpoint had; that is the run's"
    )


@dataclass(kw_only=True)
class EvaluateConfig(RobustnessSettings):
    """Cross-validation: a model and a score for every fold, before the model that learns from everything."""

    folds: str = option(
        "", "speaker, speaker:K, session, official, corpus, language or random, as probe has them; empty for none"
    )
    seeds: list[int] = option([], "each trains a model for every fold; empty for run.seed alone", ge=0)
    shots: list[int] = option(
        [], "train each fold with so few labelled clips of each class too, such as [1,5,20], for n-shot curves", ge=1
    )
    final: bool = option(True, "train on everything when the folds are done")
    output: str = option("", "JSON file of the scores; empty for scores.json in run.dir")


@dataclass(kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Everything that decides a fine-tuning run."""

    model: str = option("compact", "model to start from: what `--model` takes elsewhere")
    data: LabelledData = field(default_factory=LabelledData)
    finetune: StrategyConfig = field(default_factory=StrategyConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    head: HeadSettings = field(default_factory=HeadSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    phonemes: PhonemeSettings = field(default_factory=PhonemeSettings)
    text: TextSettings = field(default_factory=TextSettings)
    gmp: StageSettings = field(default_factory=StageSettings)
    clusters: ClusterSettings = field(default_factory=ClusterSettings)
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    optim: TuneOptim = field(default_factory=TuneOptim)
    validation: TuneValidation = field(default_factory=TuneValidation)
    checkpoint: CheckpointConfig = field(
        default_factory=lambda: CheckpointConfig(every=100, keep_last=1, keep_best="validation")
    )
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def stages(self) -> Stages:
        """The sections of training in stages."""
        return Stages(self.gmp, self.clusters, self.retrain)


CHOSEN = "chosen"
"""Folder of the first model in a run with `validation.refit`."""


def chooser(config: FinetuneConfig) -> FinetuneConfig:
    """The run whose held-out clips choose: that of the first model, or the run itself where there is one model."""
    if not config.validation.refit:
        return config
    run = replace(config.run, dir=str(Path(config.run.dir) / CHOSEN))
    return replace(config, run=run, validation=replace(config.validation, refit=False))


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Read a configuration from YAML, then apply overrides such as `optim.encoder_lr=1e-5`.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, wrong types, values out of range, and
            combinations that cannot work.
    """
    return load(FinetuneConfig, path, overrides, check_config)


def check_config(config: FinetuneConfig) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the run can start."""
    faults = check_training(config)
    faults += check_labelled(config.data) + check_joint(config.joint)
    faults += check_phonemes(config.phonemes, config.joint.targets, config.augment)
    faults += check_text(config.text, config.head.kind)
    faults += check_losses(config.loss, config.run, config.data, config.optim.accumulate, config.head.kind)
    tuned = config.finetune
    faults += check_stages(config.stages, refit=config.validation.refit, shots=config.evaluate.shots, head=tuned.head)
    if not STRATEGIES.fullmatch(tuned.strategy):
        faults.append(f"finetune.strategy is {tuned.strategy!r}, expected frozen, full, lora, top:K or gradual:N")
    if not FREEZES.fullmatch(tuned.freeze):
        faults.append(f"finetune.freeze is {tuned.freeze!r}, expected none, cnn, stem or blocks:K with K from 1")
    if config.data.max_samples < config.data.min_samples:
        faults.append(
            f"data.max_seconds is {config.data.max_seconds:g}, expected at least data.min_samples "
            f"({config.data.min_samples / SAMPLE_RATE:g} s)"
        )
    if config.data.ranges and not (config.data.targets or config.joint.values):
        faults.append(
            "data.ranges is given and data.targets and joint.values are empty, expected values of these scales"
        )
    if tuned.solve and config.head.kind != "mean":
        faults.append(f"finetune.solve is {tuned.solve} and head.kind {config.head.kind}, expected kind mean")
    if config.evaluate.folds and (fault := scheme_fault(config.evaluate.folds)):
        faults.append(f"evaluate.folds {fault}")
    if fault := alone_fault(config, config.run.devices * config.run.nodes):
        faults.append(fault)
    if not config.evaluate.folds and not config.evaluate.final:
        faults.append("evaluate.final is off and evaluate.folds empty, which leaves nothing to do")
    if config.evaluate.shots and config.data.targets:
        faults.append("evaluate.shots are numbers of clips of each class, and data.targets are values")
    if len(set(config.evaluate.shots)) < len(config.evaluate.shots):
        faults.append(f"evaluate.shots is {config.evaluate.shots}, expected each number once")
    return faults + check_robustness(config.evaluate, "evaluate.")


def alone_fault(config: FinetuneConfig, processes: int) -> str:
    """What is wrong with so many processes: one trains several models after one another; empty for nothing."""
    asked = [("evaluate.folds", bool(config.evaluate.folds)), ("validation.refit", config.validation.refit)]
    asked.append(("gmp.enabled", config.gmp.enabled))
    several = " and ".join(name for name, wanted in asked if wanted)
    if not several or processes == 1:
        return ""
    return f"{several} trains several models, one after another: expected one process (run.devices=1), not {processes}"


def check_labelled(data: LabelledData) -> list[str]:
    """List what is wrong with the labelled speech that is named."""
    faults = []
    if not data.table and not data.corpora:
        faults.append("data.table and data.corpora are empty, expected labelled speech, such as data.table=my.csv")
    if data.root and not data.table:
        faults.append(
            f"data.root is {data.root} and data.table is empty; folders of data.corpora stand in their entries"
        )
    faults += [f"data.corpora has {text!r}, expected NAME=PATH" for text in data.corpora if not all(pair(text))]
    faults += [f"data.labels has {text!r}, expected LABEL=CLASS" for text in data.labels if not pair(text)[0]]
    if data.targets and (data.soft or data.raters):
        faults.append("data.targets are values, and data.soft or data.raters are of classes, expected one of them")
    faults += [
        f"data.ranges has {text!r}, expected LOW..HIGH or NAME=LOW..HIGH" for text in data.ranges if not scale(text)
    ]
    faults += [
        f"data.shares has {text!r}, expected NAME=SHARE, above 0 and below 1" for text in data.shares if not part(text)
    ]
    if data.shares and "corpus" not in data.balance:
        faults.append(f"data.shares are of corpora and data.balance is {data.balance}, expected corpus-class or corpus")
    if data.soft and data.raters:
        faults.append("data.soft and data.raters are given, expected one of them")
    return faults


def without_effect(config: FinetuneConfig) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    frozen, loss = config.finetune.strategy == "frozen", config.loss
    distorted = any(value for name, value in vars(config.augment).items() if name.endswith("_prob"))
    rules = [
        ("optim.encoder_lr", frozen, "finetune.strategy is frozen"),
        ("optim.layer_decay", frozen, "finetune.strategy is frozen"),
        ("finetune.freeze", frozen, "finetune.strategy is frozen"),
        ("finetune.head_first", frozen, "finetune.strategy is frozen"),
        ("evaluate.seeds", not config.evaluate.folds, "evaluate.folds is empty"),
        ("evaluate.output", not config.evaluate.folds, "evaluate.folds is empty"),
        ("joint.ramp", not config.joint.reversed, "joint.reversed is empty"),
        ("evaluate.shots", not config.evaluate.folds, "evaluate.folds is empty"),
        ("evaluate.robustness", not config.evaluate.folds, "evaluate.folds is empty"),
        ("optim.max_updates", config.optim.epochs > 0, "optim.epochs says how long"),
        ("loss.contrast", frozen and config.head.kind == "mean", "nothing below the last layer learns"),
        ("finetune.keep_gb", distorted, "augment changes the audio"),
        ("finetune.keep_gb", loss.adversarial != "none", "loss.adversarial changes the audio"),
    ]
    rules += [
        (f"phonemes.{name}", not config.phonemes.weight, "phonemes.weight is 0")
        for name in ("units", "set", "language")
    ]
    fused = config.head.kind == "fused"
    rules += [
        ("head.acoustic", not fused, "head.kind is not fused"),
        ("head.semantic", not fused and not config.phonemes.weight, "head.kind is not fused and phonemes.weight is 0"),
    ]
    rules.append(("text.dropout", not config.text.encoder, "text.encoder is empty"))
    plain = config.finetune.strategy != "lora"
    rules += [(f"lora.{name}", plain, "finetune.strategy is not lora") for name in vars(config.lora)]
    rules += idle_stages(config.stages, frozen=frozen)
    rules += idle_losses(loss, values=bool(config.data.targets))
    return told(config, [*rules, *idle_settings(config)])
