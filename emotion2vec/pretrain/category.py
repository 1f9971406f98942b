"""A supervised term of pretraining: utterances of one emotion near each other, as in Emotion2Vec-S.

B: utterances of a micro-batch. U: utterances of an update. D: model width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emotion2vec.corpora.labels import class_name
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.config import LossConfig
from emotion2vec.pretrain.network import PretrainOutput
from emotion2vec.tasks.batch_losses import supervised_contrastive, whole_gradient
from emotion2vec.training.ranks import Ranks
from emotion2vec.units import counted

UNKNOWN = -1


class CategoryLoss:
    """The contrast between the labelled utterances of an update; others are no part of it, nor what it is told from.

    Attributes:
        value: () of the last update; None in validation.
    """

    def __init__(self, loss: LossConfig):
        self.weight, self._temperature = loss.category, loss.category_temperature
        self.value: Tensor | float | None = None
        self._numbers: dict[tuple[int, str], int] = {}
        self._pulls: list[Tensor] = []

    def take_in(self, sources: Sequence[Source], say: Callable[[str], None]) -> None:
        """Learn which utterances have which label, other forms of a word alike; prepared corpora have none.

        Raises:
            ConfigError: they are of fewer than two classes.
        """
        classes = {
            (number, cut.id): class_name(label)  # two sources may call theirs alike
            for number, source in enumerate(sources)
            if isinstance(source, CutSource)
            for cut in source.cuts
            if (label := (cut.custom or {}).get("label"))
        }
        known = Counter(classes.values())
        total = sum(int(source.counts.sum()) for source in sources)
        if len(known) < 2:
            has = counted(len(classes), "has a label", "have a label")
            raise ConfigError(
                f"loss.category is {self.weight:g}, and {has} of the {counted(total, 'utterance')} of data.train, of "
                f"{counted(len(known), 'class', 'classes')}; expected lists with a column label or emotion, of two "
                "classes at least (prepared corpora have no labels)"
            )
        numbers = {name: number for number, name in enumerate(sorted(known))}
        self._numbers = {place: numbers[label] for place, label in classes.items()}
        shown = ", ".join(f"{name} {count}" for name, count in sorted(known.items()))
        say(f"loss.category: {len(classes)} of {counted(total, 'utterance')} have a label: {shown}")

    def knows(self, source: int, name: str) -> bool:
        """Whether the utterance of this id has a label, in the source of this number."""
        return (source, name) in self._numbers

    def labels(self, batch: MicroBatch) -> Tensor:
        """Class numbers (B,) of a micro-batch, `UNKNOWN` without a label."""
        places = zip(batch.sources, batch.ids, strict=True)
        return torch.tensor([self._numbers.get(place, UNKNOWN) for place in places])

    def look_ahead(self, outputs: Callable[[], Sequence[PretrainOutput]], batches: int, ranks: Ranks) -> None:
        """Gather the embeddings of an update that is in several parts, for what each has to send back."""
        self._pulls = []
        if batches * ranks.size == 1:
            return
        mine = [(embedded.cpu(), labels.cpu()) for embedded, labels in map(_compared, outputs())]
        everybody = ranks.gather(mine)
        parts = [part for found in everybody for part in found]
        labels = torch.cat([labels for _, labels in parts])  # (U,)
        whole = torch.cat([embedded for embedded, _ in parts])  # (U, D)
        value, gradient = whole_gradient(lambda found: self._contrast(found, labels), whole)
        self.value = float(value)
        first = sum(len(found) for found in everybody[: ranks.rank])
        pulls = gradient.split([len(embedded) for embedded, _ in parts])
        self._pulls = list(pulls[first : first + len(mine)])

    def of(self, output: PretrainOutput) -> Tensor:
        """The contrast of an update that is one batch, or what sends back the gradient of that over several, ()."""
        embedded, labels = _compared(output)
        if self._pulls:
            return (embedded * self._pulls[output.number].to(embedded.device)).sum()
        found = self._contrast(embedded, labels)
        self.value = found.detach()
        return found

    def _contrast(self, embedded: Tensor, labels: Tensor) -> Tensor:
        known = labels != UNKNOWN  # (U,)
        return supervised_contrastive(embedded[known], labels[known], self._temperature)


def _compared(output: PretrainOutput) -> tuple[Tensor, Tensor]:
    """Embeddings (B, D) and class numbers (B,)."""
    assert output.embedded is not None and output.labels is not None
    return output.embedded, output.labels
