"""Randomness as a pure function of a key, so that nothing has to be replayed when a run resumes."""

from __future__ import annotations

import hashlib


def keyed_seed(*key: int | str) -> int:
    """Hash a key such as (seed, update, utterance id, view) to a 63-bit seed, the same on every machine and process.

    Numbers and strings with the same digits give different seeds.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
