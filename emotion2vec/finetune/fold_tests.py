"""What the model of a fold says of its test, kept beside it.

N: clips. K: classes or dimensions of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.cuts import cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.errors import AudioError
from emotion2vec.files import write_json
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.scoring import score_waveforms
from emotion2vec.model.heads import Head

TESTED = "test.json"
"""What a fold's model says of its test; a fold that has it is done."""


def test_model(config: FinetuneConfig, clips: Sequence[Utterance]) -> None:
    """Score clips by the model of a run folder, and keep there what its heads say of those that can be heard."""
    folder = Path(config.run.dir)
    device = choose_device(config.run.accelerator)
    model = load_model(folder, device=str(device))
    opened = cuts_of(clips, min_samples=config.data.min_samples, workers=config.data.workers)
    names: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    faults = [*opened.faults, *opened.too_short]

    def scores_of(waveforms: Tensor, padding: Tensor | None) -> Mapping[str, Tensor]:
        return model.all_scores(model(waveforms, padding))

    for first in range(0, len(opened.cuts), TOGETHER):
        cuts = opened.cuts[first : first + TOGETHER]
        heard = list(zip(cuts, decoded(cuts, normalizes=model.config.normalizes), strict=True))
        faults += [
            Fault(cut.recording.sources[0].source, str(one)) for cut, one in heard if isinstance(one, AudioError)
        ]
        sound = [(cut, one) for cut, one in heard if not isinstance(one, AudioError)]
        names += [cut.id for cut, _ in sound]
        if sound:
            parts.append(score_waveforms(scores_of, [one for _, one in sound], device))
    said = {name: _said(head, [part[name] for part in parts]) for name, head in model.heads().items()}
    document = {
        "ids": names,
        "scores": said.pop(MAIN)["scores"],
        "further": said,
        "left_out": [asdict(fault) for fault in faults],
    }
    write_json(folder / TESTED, {name: value for name, value in document.items() if value or name != "further"})


def _said(head: Head, parts: Sequence[np.ndarray]) -> dict[str, Any]:
    """What a head says of all clips: logarithms of probabilities (N, K), or values as they are."""
    if not parts:
        return {"labels": list(head.labels), "scores": []}
    found = torch.from_numpy(np.concatenate(parts)).double()
    rows = found if head.config.task == "values" else found.log_softmax(dim=1)
    return {"labels": list(head.labels), "scores": rows.numpy().round(6).tolist()}
