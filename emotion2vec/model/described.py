"""What a user wants to know of a model at first sight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from emotion2vec.notebooks import Shown, Table, listed

if TYPE_CHECKING:
    from torch import nn

    from emotion2vec.model.config import EncoderConfig
    from emotion2vec.model.heads import Head


class ShownModel(Shown):
    """A speech encoder that says its name, its size and its labels; `nn.Module.__repr__` lists its modules.

    Attributes:
        name: what it was loaded from; empty where it was made in memory.
    """

    name = ""
    config: EncoderConfig
    head: Head | None
    further: nn.ModuleList

    def _said(self) -> str:
        facts = dict(self._facts())
        named = [facts[key] for key in ("name", "kind") if key in facts]
        size = f"{facts['parameters']} parameters, {facts['blocks']} blocks of {facts['width']} channels"
        heads = [f"{key} {value}" for key, value in facts.items() if key.startswith("head")]
        return ", ".join([*named, size, *heads])

    def _table(self) -> Table:
        return (), [[name, value] for name, value in self._facts()]

    def _facts(self) -> list[tuple[str, str]]:
        config = self.config
        count = sum(parameter.numel() for parameter in self.parameters())  # type: ignore[attr-defined]
        facts = [("name", self.name), ("kind", str(getattr(config, "type", "")))]
        facts += [("parameters", f"{count / 1e6:.1f} M"), ("blocks", f"{config.prenet_depth + config.depth}")]
        facts += [("width", f"{config.width}"), ("head", _told(self.head))]
        heads: Iterable[Any] = self.further
        facts += [(f"head {head.target}", _told(head)) for head in heads]
        return [(name, value) for name, value in facts if value]


def _told(head: Head | None) -> str:
    """What a head tells."""
    if head is None:
        return ""
    what = "values" if head.config.task == "values" else "labels"
    return f"of {len(head.used_labels)} {what} ({listed(head.used_labels, 9)})" if head.labels else "without labels"
