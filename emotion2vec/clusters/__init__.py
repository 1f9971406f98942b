"""Clusters of frames: k-means over what a model says of a corpus, and a model that learns to say the cluster."""
