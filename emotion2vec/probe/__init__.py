"""Probing of frozen features on speaker-independent folds: corpora, folds, heads, metrics, benchmark and report."""

from __future__ import annotations

from emotion2vec.probe.benchmark import ProbeResult, probe
from emotion2vec.probe.corpora import CORPORA
from emotion2vec.probe.folds import SCHEMES
from emotion2vec.probe.heads import HEADS, LinearHead, LogisticRegressionHead, MlpHead
from emotion2vec.probe.report import show

__all__ = [
    "CORPORA",
    "HEADS",
    "SCHEMES",
    "LinearHead",
    "LogisticRegressionHead",
    "MlpHead",
    "ProbeResult",
    "probe",
    "show",
]
