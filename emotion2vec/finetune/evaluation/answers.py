"""What a model says of test clips, as they are and under conditions.

N: clips. B: clips of a batch. S: samples. K: scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion2vec.audio.samples import normalize
from emotion2vec.corpora.faults import Fault
from emotion2vec.data.cuts import Cuts, place_of
from emotion2vec.errors import AudioError
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.evaluation.conditions import Attack, Condition
from emotion2vec.finetune.result import FACTS
from emotion2vec.finetune.scoring import by_length, padded
from emotion2vec.finetune.texts import texts_of
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.model.text import Told
from emotion2vec.tasks.perturbation import adversarial
from emotion2vec.tasks.targets import Goal
from emotion2vec.training.objective import on_device

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass
class Answers:
    """What was said.

    Attributes:
        ids: of the clips that could be heard.
        scores: (N, K) logarithms of probabilities, or values, of each head by its target.
        distorted: the same under each condition, in their order. Attacks, which are made against the main head, have
            scores of this alone, and of clips without its target they are not numbers.
        faults: clips that could not be used, and why.
    """

    ids: list[str] = field(default_factory=list)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    distorted: list[dict[str, np.ndarray]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Examiner:
    """Asks a model about clips.

    Args:
        model: with a head, in eval mode.
        columns: numbers of the main head's scores that count, K of them.
        conditions: under which clips are scored again.
        seed: of what conditions draw.
        said: text of each clip, by its id, where the model reads texts.
        text_encoder: where the model finds its text encoder; empty for where it was.
    """

    def __init__(
        self,
        model: SpeechEncoder,
        columns: Sequence[int],
        conditions: Sequence[Condition | Attack] = (),
        seed: int = 0,
        said: Mapping[str, str | None] | None = None,
        text_encoder: str = "",
    ):
        assert model.head is not None
        self.model = model
        self.columns = list(columns)
        self.conditions = conditions
        self.seed = seed
        self.texts, self.said = texts_of(model, text_encoder), said or {}
        self.values = model.head.config.task == "values"

    def __call__(self, opened: Cuts, truth: Mapping[str, np.ndarray]) -> Answers:
        """Score clips.

        Args:
            opened: the clips.
            truth: what attacks are given: the number of a clip's class, or its values, by its id; none of clips that
                lack the main target.
        """
        found = Answers(faults=[*opened.faults, *opened.too_short])
        plain: list[dict[str, np.ndarray]] = []
        distorted: list[list[dict[str, np.ndarray]]] = [[] for _ in self.conditions]
        for first in range(0, len(opened.cuts), TOGETHER):
            cuts, waveforms = self._heard(opened.cuts[first : first + TOGETHER], found)
            if not cuts:
                continue
            found.ids += [cut.id for cut in cuts]
            plain.append(self._scores([self._ready(one) for one in waveforms], cuts))
            for condition, rows in zip(self.conditions, distorted, strict=True):
                rows.append(self._under(condition, cuts, waveforms, truth))
        if plain:
            found.scores, found.distorted = _joined(plain), [_joined(rows) for rows in distorted]
        return found

    def _heard(self, cuts: Sequence[Cut], found: Answers) -> tuple[list[Cut], list[np.ndarray]]:
        """Clips that can be decoded, with their waveforms; the others become faults."""
        pairs: list[tuple[Cut, np.ndarray]] = []
        for cut, waveform in zip(cuts, decoded(cuts, normalizes=False), strict=True):
            if isinstance(waveform, AudioError):
                found.faults.append(Fault(place_of(cut), str(waveform)))
            else:
                pairs.append((cut, waveform))
        return [cut for cut, _ in pairs], [waveform for _, waveform in pairs]

    def _ready(self, waveform: np.ndarray) -> np.ndarray:
        """A waveform (S,) as the model wants to hear it."""
        return normalize(waveform) if self.model.config.normalizes else waveform

    def _under(
        self,
        condition: Condition | Attack,
        cuts: Sequence[Cut],
        waveforms: Sequence[np.ndarray],
        truth: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Scores (N, K) of clips under a condition, by head."""
        if isinstance(condition, Attack):
            scores = np.full((len(cuts), len(self.columns)), np.nan)
            if there := [row for row, cut in enumerate(cuts) if cut.id in truth]:
                answers = np.stack([truth[cuts[row].id] for row in there])
                heard, named = [self._ready(waveforms[row]) for row in there], [cuts[row] for row in there]
                scores[there] = self._scores(heard, named, condition, answers)[MAIN]
            return {MAIN: scores}
        distorted = (condition.distorted(one, cut.id, self.seed) for cut, one in zip(cuts, waveforms, strict=True))
        return self._scores([self._ready(one) for one in distorted], cuts)

    def _scores(
        self,
        waveforms: Sequence[np.ndarray],
        cuts: Sequence[Cut],
        attack: Attack | None = None,
        truth: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Scores (N, K) by each head of whole clips in batches of like length, float64."""
        rows: dict[int, dict[str, Tensor]] = {}
        device = self.model.device
        for numbers in by_length([waveform.size for waveform in waveforms]):
            batch, padding = padded([waveforms[number] for number in numbers])  # (B, S)
            batch, padding = batch.to(device), None if padding is None else padding.to(device)
            told = None if self.texts is None else self.texts([self.said.get(cuts[number].id) for number in numbers])
            (told,) = on_device([told], device)
            if attack is not None and truth is not None:
                batch = self._attacked((batch, padding, told), attack, torch.from_numpy(truth[numbers]).to(device))
            with torch.inference_mode():
                said = self._said(batch, padding, told)
            rows |= {number: {name: one[place] for name, one in said.items()} for place, number in enumerate(numbers)}
        return {name: torch.stack([rows[n][name] for n in range(len(waveforms))]).numpy() for name in rows[0]}

    def _said(self, waveforms: Tensor, padding: Tensor | None, told: Told | None) -> dict[str, Tensor]:
        """What each head says (B, K), float64 on the host."""
        said = self.model.all_scores(self.model(waveforms, padding), told)
        said[MAIN] = said[MAIN][:, self.columns]
        there = {name: scores.float().cpu().double() for name, scores in said.items()}
        values = {name for name, head in self.model.heads().items() if head.config.task == "values"}
        return {name: one if name in values else one.log_softmax(dim=1) for name, one in there.items()}

    def _attacked(self, given: tuple[Tensor, Tensor | None, Told | None], attack: Attack, truth: Tensor) -> Tensor:
        """Waveforms (B, S), of those given with padding and texts, that raise each clip's loss by their truth.

        It is the cross-entropy of the main head's scores that count, or the squared error.
        """
        waveforms, padding, told = given

        def loss(heard: Tensor) -> Tensor:
            scores = self.model.scores(self.model(heard, padding), told).float()[:, self.columns]
            if self.values:
                return (scores - truth.to(scores)).square().sum()
            return functional.cross_entropy(scores, truth, reduction="sum")

        return adversarial(waveforms, loss, attack.epsilon, steps=attack.steps, padding=padding)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores (N, K) of each head from those of some clips after others."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def uncalibrated(folder: Path, scores: np.ndarray, goal: Goal, head: str = MAIN) -> tuple[np.ndarray, dict[str, Any]]:
    """Logarithms of probabilities (N, K) as training left them, and the temperature that the folder's head took in.

    Scores as they are, and nothing, where there is none; values have none.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        temperature = (facts.get("further", {}).get(head, {}) if head else facts).get("temperature")
    except (OSError, ValueError):
        temperature = None
    if temperature is None or goal.task != "classification":
        return scores, {}
    raised = scores * temperature
    return raised - np.logaddexp.reduce(raised, axis=1, keepdims=True), {"temperature": temperature}
