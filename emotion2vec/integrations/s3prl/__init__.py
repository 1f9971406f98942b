"""Our models as S3PRL upstreams: `emotion2vec` and `emotion2vec_custom` in `s3prl.hub` after `register()`.

`python -m emotion2vec.integrations.s3prl` is S3PRL's own `run_downstream.py` with them.
"""

from __future__ import annotations

from emotion2vec.integrations.s3prl.hubconf import emotion2vec, emotion2vec_custom

__all__ = ["emotion2vec", "emotion2vec_custom", "register"]


def register() -> None:
    """Enter our upstreams into `s3prl.hub`, in this process; calling it again changes nothing.

    Raises:
        ModuleNotFoundError: S3PRL is not installed.
    """
    from s3prl import hub

    for upstream in (emotion2vec, emotion2vec_custom):
        setattr(hub, upstream.__name__, upstream)
