"""Typed errors for mistakes that a user can mend; each message names what was found and what was expected."""


class Emotion2vecError(Exception):
    """Base of every error that the package raises on purpose; the command line prints it without a traceback."""


class ConfigError(Emotion2vecError):
    """A configuration key, value or combination of values is wrong; the message lists all faults at once."""


class AudioError(Emotion2vecError):
    """Audio cannot be decoded or used: unreadable, empty, too short or not finite."""


class ManifestError(Emotion2vecError):
    """A manifest, table or folder of audio cannot be read, or names things that do not exist."""


class CheckpointError(Emotion2vecError):
    """A checkpoint is missing, truncated, of an unknown format, or does not fit the model."""


class TrainingError(Emotion2vecError):
    """Training cannot go on: loss or gradients are not finite, or the representation has collapsed."""


class StorageError(Emotion2vecError):
    """The storage that holds the data cannot be reached, or stayed out of reach for longer than was waited."""
