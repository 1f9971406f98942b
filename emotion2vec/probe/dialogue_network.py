"""The network of the head `dialogue`.

R: rows of all clips. B: turns of a batch that are predicted. V: turns that are heard for them and have rows. U: rows of
a turn. D: channels. H: hidden width. K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from emotion2vec.probe.networks import seeded_linear
from emotion2vec.probe.sequences import seeded_gru


class DialogueClassifier(nn.Module):
    """GRU over the rows of each turn, GRU over turns, Linear to classes.

    Args:
        values: (R, D), all rows.
        heard: per clip, the turns that are heard before it: numbers of their rows, and whether by the same speaker.
        hidden: H.
        outputs: K.
        seed: of the weights.
    """

    def __init__(
        self,
        values: Tensor,
        heard: Sequence[Sequence[tuple[np.ndarray, bool]]],
        *,
        hidden: int,
        outputs: int,
        seed: int,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.of_turn = seeded_gru(values.shape[1], hidden, generator)
        self.of_dialogue = seeded_gru(hidden + 1, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)
        self.to(values.device)
        self._values = values
        self._heard = heard

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K) for the turns that the clips at these positions stand for."""
        heard = [self._heard[clip] for clip in clips.tolist()]
        turns = torch.tensor([len(turns) for turns in heard])  # (B,)
        states = self._turn_states([rows for turns in heard for rows, _ in turns])  # (sum of turns, H)
        own = torch.tensor([[float(own)] for turns in heard for _, own in turns], device=states.device)
        parts = torch.cat([states, own], dim=1).split(turns.tolist())  # B × (its turns, H + 1)
        return self.output(_last_state(self.of_dialogue, parts, turns))

    def _turn_states(self, turns: Sequence[np.ndarray]) -> Tensor:
        """(turns, H); zero for turns of which nothing could be read."""
        lengths = torch.tensor([len(rows) for rows in turns])
        states = self._values.new_zeros(len(turns), self.of_turn.hidden_size)
        real = lengths.nonzero().squeeze(1)  # (V,)
        if not len(real):
            return states
        rows = torch.from_numpy(np.concatenate(turns)).to(self._values.device)
        parts = self._values[rows].split(lengths[real].tolist())  # V × (U, D)
        return states.index_copy(0, real.to(states.device), _last_state(self.of_turn, parts, lengths[real]))


def _last_state(network: nn.GRU, parts: Sequence[Tensor], lengths: Tensor) -> Tensor:
    """The state (len(parts), H) of a GRU at the end of each sequence."""
    padded = pad_sequence(list(parts), batch_first=True)
    packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    last: Tensor = network(packed)[1][0]
    return last
