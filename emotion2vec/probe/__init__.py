"""Probing of frozen features on speaker-independent folds.

`features` are what is probed, `heads` what is trained on them, `evaluation` scores every fold, `run` is one probe, and
`benchmark` many of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion2vec.corpora.folds import SCHEMES as SCHEMES
    from emotion2vec.corpora.named.registry import dataset_names as dataset_names
    from emotion2vec.probe.heads import HEADS as HEADS
    from emotion2vec.probe.heads import LinearHead as LinearHead
    from emotion2vec.probe.heads import LogisticRegressionHead as LogisticRegressionHead
    from emotion2vec.probe.heads import MlpHead as MlpHead
    from emotion2vec.probe.heads import SequenceHead as SequenceHead
    from emotion2vec.probe.heads import WeightedHead as WeightedHead
    from emotion2vec.probe.results import ProbeResult as ProbeResult
    from emotion2vec.probe.run import probe as probe

_HOMES = {"SCHEMES": "corpora.folds", "dataset_names": "corpora.named.registry"}
_HOMES |= {"ProbeResult": "probe.results", "probe": "probe.run"}
_HEADS = ("HEADS", "LinearHead", "LogisticRegressionHead", "MlpHead", "SequenceHead", "WeightedHead")
_HOMES |= dict.fromkeys(_HEADS, "probe.heads")

__all__ = [
    "HEADS",
    "SCHEMES",
    "LinearHead",
    "LogisticRegressionHead",
    "MlpHead",
    "ProbeResult",
    "SequenceHead",
    "WeightedHead",
    "dataset_names",
    "probe",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that options can be read before torch is imported."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"emotion2vec.{_HOMES[name]}"), name)
