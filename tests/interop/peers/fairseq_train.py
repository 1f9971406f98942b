"""In fairseq's environment: fairseq's own `fairseq-hydra-train`, with the same arguments."""

from __future__ import annotations

from stand_ins import stand_in

stand_in("torchaudio")
from fairseq_cli.hydra_train import cli_main  # noqa: E402

cli_main()
