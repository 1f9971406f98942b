"""In S3PRL's environment: our upstream through `S3PRLUpstream`, and hidden states of clips.

usage: s3prl_states.py MODEL CLIPS.npz OUTPUT.npz
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from stand_ins import stand_in

stand_in("torchaudio")
from s3prl.nn import Featurizer, S3PRLUpstream  # noqa: E402

from emotion2vec.integrations.s3prl import register  # noqa: E402


def main(model: str, clips: str, output: str) -> None:
    register()
    upstream = S3PRLUpstream("emotion2vec_custom", path_or_url=model).eval()
    waveforms = [torch.from_numpy(samples) for samples in np.load(clips).values()]
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    featurizer = Featurizer(upstream)
    with torch.no_grad():
        states, state_lengths = upstream(batch, lengths)
        mixed, _ = featurizer(states, state_lengths)
        short = upstream(torch.randn(1, 100), torch.tensor([100]))[0]
    np.savez(
        output,
        states=torch.stack(states).numpy(),
        lengths=torch.stack(state_lengths).numpy(),
        mixed=mixed.numpy(),
        rates=np.array(upstream.downsample_rates),
        short=short[-1].numpy(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
