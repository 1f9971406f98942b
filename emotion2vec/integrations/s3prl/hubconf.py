"""The names by which S3PRL finds our upstream."""

from __future__ import annotations

from typing import Any


def emotion2vec(ckpt: str = "base", **kwargs: Any) -> Any:
    """The upstream with the official base weights, or with `ckpt`, anything that `load_model` takes."""
    return emotion2vec_custom(ckpt, **kwargs)


def emotion2vec_custom(ckpt: str, **kwargs: Any) -> Any:
    """The upstream with `ckpt` (`-k`), anything that `load_model` takes: a folder, a file or a name."""
    from emotion2vec.integrations.s3prl.expert import UpstreamExpert

    return UpstreamExpert(ckpt, **kwargs)
