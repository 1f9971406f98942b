"""Data: manifests of every accepted kind, Lhotse cuts, and pretraining batches by duration.

Import from the modules: `manifests` is light (no torch, no Lhotse), `cuts` and `batches` are for pretraining.
"""
