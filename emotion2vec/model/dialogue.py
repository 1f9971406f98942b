"""The head that hears a conversation: scores of a turn from those before it.

B: conversations. C: turns that are heard. T: frames of a turn. D: channels. H: hidden width. K: scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from emotion2vec.model.heads import Head
from emotion2vec.model.seeded import seeded_gru, seeded_linear


class Dialogue(Head):
    """GRU over each turn, GRU over the turns, Linear H → K: scores of the next turn (Shi et al., 2023)."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.of_turn = seeded_gru(channels, hidden, generator)
        self.of_dialogue = seeded_gru(hidden + 1, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def forward(  # type: ignore[override]  # it reads dialogues
        self, turns: Sequence[Sequence[Tensor]], own: Sequence[Sequence[bool]]
    ) -> Tensor:
        """Score the turns that follow.

        Args:
            turns: of each of B conversations the turns that are heard, at least one: frames (T, D), T = 0 where nothing
                could be read.
            own: whether each of them is by the speaker whose turn is scored.

        Returns:
            (B, K).
        """
        counts = [len(heard) for heard in turns]
        states = self._turn_states([frames for heard in turns for frames in heard])  # (sum of C, H)
        marks = states.new_tensor([[float(mark)] for row in own for mark in row])  # (sum of C, 1)
        heard = torch.cat([states, marks], dim=1).split(counts)  # B × (C, H + 1)
        scores: Tensor = self.output(_last_state(self.of_dialogue, heard))
        return scores

    def _turn_states(self, turns: Sequence[Tensor]) -> Tensor:
        """(turns, H); zero for turns of which nothing could be read."""
        real = [place for place, frames in enumerate(turns) if len(frames)]
        states = self.output.weight.new_zeros(len(turns), self.of_turn.hidden_size)
        if not real:
            return states
        found = _last_state(self.of_turn, [self.standardized(turns[place]) for place in real])
        return states.index_copy(0, torch.tensor(real, device=states.device), found)


def _last_state(network: nn.GRU, parts: Sequence[Tensor]) -> Tensor:
    """The state (len(parts), H) of a GRU at the end of each sequence."""
    lengths = torch.tensor([len(part) for part in parts])
    packed = pack_padded_sequence(
        pad_sequence(list(parts), batch_first=True), lengths, batch_first=True, enforce_sorted=False
    )
    last: Tensor = network(packed)[1][0]
    return last
