"""The head that learns: the model's own where its labels are the data's, or a new one, whole or in part.

K: scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from emotion2vec.corpora.labels import class_name
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.heads import UNUSED, Head
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.speech import SpeechEncoder


def start_head(
    encoder: SpeechEncoder, wanted: HeadConfig, names: Sequence[str], start: str, say: Callable[[str], None]
) -> Head | None:
    """What of a model's own head goes on learning.

    Labels are the same where they mean the same, whatever language stands before a `/` of them.

    Args:
        encoder: with its own head, if any.
        wanted: the head that a new one would be.
        names: of the scores (K) that are learnt.
        start: `auto`: the own head if it has these labels; `own`: that or an error; `rows`: the own head with the
            rows of labels that it has, and random ones for others; `new`: none of it.
        say: shows a line of text to the user.

    Returns:
        A head of these names in this order; None where a new one has to be made.

    Raises:
        ConfigError: `own` or `rows` is asked for, and there is no such head, or not these labels, or none of them.
    """
    own = encoder.head
    if start == "new" or (own is None and start == "auto"):
        return None
    if own is None or not own.labels or own.config.task != wanted.task:
        what = "no head" if own is None else f"a head of {own.config.task if own.labels else 'scores without labels'}"
        if start == "auto":
            say(f"the model has {what}, and {wanted.task} are to be learnt: a new head learns")
            return None
        raise ConfigError(f"finetune.head is {start} and the model has {what}, expected one of {wanted.task}")
    places = [_place(own, name) for name in names]
    lost = [label for number, label in enumerate(own.labels) if number not in places and not label.startswith(UNUSED)]
    new = [name for name, place in zip(names, places, strict=True) if place is None]
    differ = [f"has {', '.join(lost)}, which the data has not"] * bool(lost)
    differ += [f"lacks {', '.join(new)}"] * bool(new)
    if not differ or (start == "rows" and len(new) < len(names)):
        kept = ", ".join(name for name in names if name not in new)
        say(
            f"the model's own head ({own.config.kind}) goes on learning {kept}"
            + f", and new: {', '.join(new)}" * bool(new)
        )
        return _with_rows(encoder, own, names, places)
    found = f"the model's own head {' and '.join(differ)}"
    remedy = "data.labels renames or leaves out labels, finetune.head=rows keeps what both have, and finetune.head=new "
    if start == "auto":
        say(f"{found}: a new head learns; {remedy}is this without a word")
        return None
    raise ConfigError(f"finetune.head is {start} and {found}; {remedy}makes a new one")


def _place(own: Head, name: str) -> int | None:
    """Which row of a head has a label."""
    meanings = [label if label.startswith(UNUSED) else _meaning(label) for label in own.labels]
    if name in own.labels:
        return own.labels.index(name)
    return meanings.index(_meaning(name)) if _meaning(name) in meanings else None


def _meaning(label: str) -> str:
    return class_name(label.rpartition("/")[2])


def _with_rows(encoder: SpeechEncoder, own: Head, names: Sequence[str], places: Sequence[int | None]) -> Head:
    """A head with the weights of another one, of whose rows it takes those at `places`; None for random ones."""
    width, layers = encoder.config.width, len(encoder.blocks)
    one_more = build_head(own.config, width, layers, [*map(str, range(len(own.labels) + 1))]).state_dict()
    head = build_head(own.config, width, layers, names, torch.Generator().manual_seed(0))
    like = next(own.parameters())
    head.to(like.device, like.dtype)
    weights = head.state_dict()
    for name, value in own.state_dict().items():
        if name not in one_more or one_more[name].shape == value.shape:
            weights[name] = value
            continue
        for row, place in enumerate(places):
            if place is not None:
                weights[name][row] = value[place]
    head.load_state_dict(weights)
    return head
