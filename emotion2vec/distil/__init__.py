"""Distillation: a small model learns what a large one says of speech, layer by layer."""
