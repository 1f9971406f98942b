"""In FunASR's environment: features and scores of clips by `AutoModel.generate`.

usage: funasr_outputs.py FOLDER CLIPS.npz OUTPUT.json
"""

from __future__ import annotations

import json
import sys

import numpy as np
from funasr import AutoModel


def main(folder: str, clips: str, output: str) -> None:
    model = AutoModel(model=folder, disable_update=True, ncpu=1, disable_pbar=True)
    answers = {}
    for name, samples in np.load(clips).items():
        answer = model.generate(samples, granularity="frame", extract_embedding=True)[0]
        scores = dict(zip(answer["labels"], answer["scores"], strict=True))
        answers[name] = {"frames": answer["feats"].tolist(), "scores": scores}
    with open(output, "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
