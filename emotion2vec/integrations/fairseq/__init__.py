"""Our pretraining inside fairseq: `emotion2vec_fairseq` beside this file is what `common.user_dir` wants.

`python -m emotion2vec.integrations.fairseq` prints its path. It lies one folder deeper than other integrations because
fairseq imports it under its folder's name, and puts the folder around it on the path.
"""

from __future__ import annotations

from pathlib import Path


def user_dir() -> Path:
    """The folder for fairseq's `common.user_dir`."""
    return Path(__file__).parent / "emotion2vec_fairseq"
