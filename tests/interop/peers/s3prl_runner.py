"""In S3PRL's environment: `python -m emotion2vec.integrations.s3prl` with the same arguments."""

from __future__ import annotations

import runpy

from stand_ins import stand_in

stand_in("torchaudio")
runpy.run_module("emotion2vec.integrations.s3prl", run_name="__main__")
