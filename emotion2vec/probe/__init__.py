"""Probing of frozen features on speaker-independent folds: corpora, folds, audit, heads, metrics, benchmark, report."""

from __future__ import annotations

from emotion2vec.corpora.folds import SCHEMES
from emotion2vec.corpora.named.registry import dataset_names
from emotion2vec.probe.heads import HEADS, LinearHead, LogisticRegressionHead, MlpHead, SequenceHead, WeightedHead
from emotion2vec.probe.probing import ProbeResult, probe
from emotion2vec.report.tables import show

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
    "show",
]
