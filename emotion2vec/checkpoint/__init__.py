"""Checkpoints: the native format, and the names of other formats' weights."""

from emotion2vec.checkpoint.native import load_model, save_model

__all__ = ["load_model", "save_model"]
