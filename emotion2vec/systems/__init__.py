"""Whole systems compared on one corpus: heads on frozen features, and models that are fine-tuned."""
