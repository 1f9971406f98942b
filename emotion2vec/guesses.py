"""What a name that is not known was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Collection

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr",),
    "batch_size": ("clips", "batch", "batch_seconds"),
    "per_device_train_batch_size": ("clips", "batch", "batch_seconds"),
    "gradient_accumulation_steps": ("accumulate",),
    "num_train_epochs": ("epochs", "max_updates"),
    "num_epochs": ("epochs", "max_updates"),
    "max_epochs": ("epochs", "max_updates"),
    "max_steps": ("max_updates",),
    "steps": ("max_updates",),
    "warmup": ("warmup_updates",),
    "warmup_steps": ("warmup_updates",),
    "max_grad_norm": ("clip_norm",),
    "gpus": ("devices",),
    "num_gpus": ("devices",),
    "num_nodes": ("nodes",),
    "num_workers": ("workers",),
    "fp16": ("precision",),
    "bf16": ("precision",),
    "output_dir": ("dir", "output"),
    "resume": ("dir", "extend"),
    "early_stopping": ("patience",),
    "save_steps": ("every",),
    "eval_steps": ("every",),
}
"""Last parts of keys that mean what other tools call so."""


def meant(name: str, known: Collection[str]) -> str:
    """`; did you mean ...?` with those of the known names that are near, in whatever case; nothing where none is."""
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(lower[other] for other in near)}?" if near else ""


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """The fault of a name that is none of those that are known, with those that are near, mean it or end like it."""
    last = name.rpartition(".")[2]
    meant = OTHER_NAMES.get(last.lower().replace("-", "_"), (last,))
    near = [other for other in known if other.rpartition(".")[2] in meant and last not in meant]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    near = near or [other for other in known if other.rpartition(".")[2] == last]
    return f"unknown {what} {name}" + (f"; did you mean {' or '.join(near)}?" if near else "")
