"""A corpus of talkers for tests: classes differ in pitch and speakers in timbre, so that a small network can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from emotion2vec.checkpoint import save_model
from emotion2vec.finetune.config import FinetuneConfig, load_config
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec

PITCHES = {"anger": 900.0, "neutral": 300.0, "sadness": 100.0}

SMALL = Emotion2vecConfig(
    frontend="logmel",
    mels=16,
    channels=16,
    width=32,
    heads=4,
    ffn_width=48,
    kernels=[3, 3],
    strides=[1, 2],
    prenet_depth=0,
    depth=2,
    tokens=0,
    norm="pre",
    positions="sinusoid",
    max_frames=200,
    dropout=0.0,
    attention_dropout=0.0,
    layerdrop=0.0,
)

QUICK = [
    "data.clips=6",
    "data.max_seconds=0.5",
    "data.workers=0",
    "data.cache=true",
    "optim.max_updates=6",
    "optim.warmup_updates=1",
    "optim.lr=1e-2",
    "optim.encoder_lr=1e-3",
    "validation.every=2",
    "checkpoint.every=2",
    "log.every=1",
    "run.precision=fp32",
    "run.accelerator=cpu",
    "finetune.standardize=8",
]


def write_talkers(folder: Path, speakers: int = 4, takes: int = 2, classes: tuple[str, ...] = tuple(PITCHES)) -> Path:
    """Write clips of 0.3 to 0.8 s and `table.csv`, which names file, emotion, speaker and gender; returns the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = ["file,emotion,speaker,gender"]
    for speaker in range(speakers):
        for label in classes:
            for take in range(takes):
                samples = int(rng.integers(4_800, 12_800))
                time = np.arange(samples) / 16_000
                tone = sum(
                    np.sin(2 * np.pi * PITCHES[label] * (1 + 0.03 * speaker) * k * time) / k for k in range(1, 4)
                )
                name = f"s{speaker}_{label}_{take}.wav"
                soundfile.write(folder / name, 0.1 * tone + 0.01 * rng.normal(size=samples), 16_000)
                rows.append(f"{name},{label},s{speaker},{'female' if speaker % 2 else 'male'}")
    table = folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def write_model(folder: Path, **other: float) -> Path:
    """Write a small encoder without a head, some of its dimensions as told."""
    torch.manual_seed(0)
    config = replace(SMALL, **other)
    save_model(folder, config, Emotion2vec(config).state_dict())
    return folder


def quick(table: Path, model: Path, run: Path, *more: str) -> list[str]:
    """Overrides of a run that takes a second."""
    return [*QUICK, f"data.table={table}", f"model={model}", f"run.dir={run}", *more]


def quick_config(table: Path, model: Path, run: Path, *more: str) -> FinetuneConfig:
    return load_config(None, quick(table, model, run, *more))
