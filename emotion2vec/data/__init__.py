"""Data: Lhotse cuts of lists, prepared corpora in shards, and pretraining batches by duration."""
