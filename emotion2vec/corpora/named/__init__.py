"""Corpora by name, and how each tells its labels and speakers."""
