"""Micro-batches by keywords, whichever of the options has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

from emotion2vec.data import batches as module
from emotion2vec.data.config import DataConfig
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Stream


def batches(sources: Any, **settings: Any) -> Generator[MicroBatch, None, None]:
    def of(cls: type) -> dict[str, Any]:
        return {item.name: settings.pop(item.name) for item in dataclasses.fields(cls) if item.name in settings}

    least = settings.get("length_step", 1)
    data = DataConfig(**{"min_samples": least, "workers": 0, "patience": 0.0, **of(DataConfig)})
    return module.batches(sources, data, Stream(**of(Stream)), **settings)
