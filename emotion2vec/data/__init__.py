"""Data to train on: lists of audio and prepared corpora, micro-batches by duration, augmentation."""
