"""Checkpoints: the native format, and reading those of fairseq, FunASR and Hugging Face without their packages."""

from emotion2vec.checkpoint.loading import load_model
from emotion2vec.checkpoint.native import save_model

__all__ = ["load_model", "save_model"]
