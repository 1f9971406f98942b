"""Write the folder that FunASR and ModelScope download for emotion2vec models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotion2vec.checkpoint.card import model_card
from emotion2vec.checkpoint.formats.data2vec import model_settings
from emotion2vec.checkpoint.formats.names import state_to_fairseq
from emotion2vec.checkpoint.formats.write_fairseq import decoder_names, plain_tensors, split_head
from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError
from emotion2vec.files import complete_folder

PREFIX = "d2v_model."
"""In front of every weight but the head's; `scope_map` tells FunASR to take it off."""


def write_funasr(source: Source, folder: Path) -> list[str]:
    """Write `config.yaml`, `configuration.json`, `model.pt`, a card and, with a head, `tokens.txt`.

    Returns:
        What a user should know about what was left out.

    Raises:
        CheckpointError: labels that FunASR's `tokens.txt` cannot hold, or dimensions that its settings cannot say.
    """
    import torch
    import yaml

    _check_labels(source)
    head, encoder = split_head(source.student)
    encoder = state_to_fairseq(encoder | decoder_names(source.decoder))
    weights = {PREFIX + name: value for name, value in encoder.items()} | state_to_fairseq(head)
    settings: dict[str, Any] = {
        "model": "Emotion2vec",
        "model_conf": {"_name": None, **model_settings(source), "skip_ema": True, "normalize": True},
        "scope_map": [PREFIX, "none"],
    }
    files = {"init_param": "model.pt", "config": "config.yaml"}
    if source.labels:
        settings["tokenizer"] = "CharTokenizer"
        # FunASR wants one of the labels to stand for what it does not know; nothing of an emotion model reads it.
        unknown = "<unk>" if "<unk>" in source.labels else source.labels[-1]
        settings["tokenizer_conf"] = {"unk_symbol": unknown, "split_with_space": True}
        files |= {"tokenizer_conf": {"token_list": "tokens.txt"}}  # type: ignore[dict-item]
    configuration = {
        "framework": "pytorch",
        "task": "emotion-recognition",
        "model": {"type": "funasr"},
        "pipeline": {"type": "funasr-pipeline"},
        "file_path_metas": files,
    }
    with complete_folder(folder) as partial:
        torch.save({"model": plain_tensors(weights)}, partial / "model.pt")
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        (partial / "config.yaml").write_text(text, encoding="utf-8")
        (partial / "configuration.json").write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")
        if source.labels:
            (partial / "tokens.txt").write_text("\n".join(source.labels) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, "funasr"), encoding="utf-8")
    return ["the teacher is left out: FunASR has no use for it"] if source.teacher else []


def _check_labels(source: Source) -> None:
    faults = [
        f"label {label!r} has line breaks or spaces at its end"
        for label in source.labels
        if label != label.rstrip() or len(label.splitlines()) != 1
    ]
    faults += [f"label {label!r} is there twice" for label in {x for x in source.labels if source.labels.count(x) > 1}]
    if faults:
        raise CheckpointError(f"{source.path}: FunASR's tokens.txt cannot hold these labels: {'; '.join(faults)}")
