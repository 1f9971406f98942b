"""Checkpoints: the native format, and reading those of fairseq, FunASR and Hugging Face without their packages."""

from emotion2vec.checkpoint.native import save_model
from emotion2vec.checkpoint.opening import load_model

__all__ = ["load_model", "save_model"]
