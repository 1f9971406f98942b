"""Small corpora in the layouts of IEMOCAP, MELD and MSP-Podcast, of tones: two pitches, each clip short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

CODES = ("ang", "sad")
"""Of what is heard as 1, high, and 0, low."""

Label = Callable[[Sequence[int], int], int]
"""The emotion of turn t, given what is heard in all turns."""


def follows_the_turn_before(heard: Sequence[int], turn: int) -> int:
    """Whoever hears a high tone gets angry, whatever the own tone is."""
    return heard[turn - 1] if turn else 0


def is_what_is_heard(heard: Sequence[int], turn: int) -> int:
    """The emotion is in the turn's own tone, which says nothing of the turns around it."""
    return heard[turn]


def write_tone(path: Path, high: int, random: np.random.Generator) -> None:
    """0.1 s of a high or a low tone with a little noise."""
    seconds = np.arange(1600) / 16000
    tone = np.sin(2 * np.pi * (900 if high else 300) * random.uniform(0.9, 1.1) * seconds) / 3
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone + 0.02 * random.standard_normal(len(tone)), 16000)


def write_iemocap(root: Path, label: Label, *, sessions: int = 3, dialogues: int = 3, turns: int = 16) -> Path:
    """Women and men take turns; every fifth turn has no usable emotion, and some turns are two utterances.

    Arousal is 4 for high tones and 2 for low ones, valence is noise.
    """
    random = np.random.default_rng(0)
    for session in range(1, sessions + 1):
        evaluations = root / f"Session{session}" / "dialog" / "EmoEvaluation"
        evaluations.mkdir(parents=True)
        for number in range(dialogues):
            dialogue = f"Ses{session:02d}F_impro{number:02d}"
            heard = random.integers(0, 2, turns)
            lines, seconds = [], 0.0
            for turn in range(turns):
                for part in range(1 + (turn % 7 == 3)):
                    name = f"{dialogue}_{'FM'[turn % 2]}{turn:02d}{part}"
                    folder = root / f"Session{session}" / "sentences" / "wav" / dialogue
                    write_tone(folder / f"{name}.wav", int(heard[turn]), random)
                    code = "fru" if turn % 5 == 4 else CODES[label(heard, turn)]
                    values = f"{random.uniform(1, 5):.4f}, {2 + 2 * heard[turn]:.4f}, 3.0000"
                    lines.append(f"[{seconds:.4f} - {seconds + 1:.4f}]\t{name}\t{code}\t[{values}]\n")
                    seconds += 1.5
            random.shuffle(lines)  # the files list women and men by name: the times say who speaks when
            (evaluations / f"{dialogue}.txt").write_text("% header\n\n" + "C-E2:\tNeutral;\t()\n".join(lines))
    return root


def write_meld(root: Path, label: Label, *, dialogues: int = 6, turns: int = 12) -> Path:
    """Three splits of dialogues between three friends, rows in no order."""
    random = np.random.default_rng(0)
    for split, folder in (("train", "train_splits"), ("dev", "dev_splits_complete"), ("test", "output_repeated_test")):
        rows = []
        for dialogue in range(dialogues):
            heard = random.integers(0, 2, turns)
            for turn in range(turns):
                write_tone(root / folder / f"dia{dialogue}_utt{turn}.wav", int(heard[turn]), random)
                emotion = ("sadness", "anger")[label(heard, turn)]
                rows.append(
                    f'{turn},"Well, yes",{("Joey", "Ross", "Rachel")[turn % 3]},{emotion},x,{dialogue},{turn}\n'
                )
        random.shuffle(rows)
        header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
        (root / f"{split}_sent_emo.csv").write_text(header + "".join(rows))
    return root


def write_msp(root: Path, *, clips: int = 60) -> Path:
    """Three partitions; arousal is in the tone, valence is not, and some clips have no class that is used."""
    random = np.random.default_rng(0)
    lines = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    for number in range(clips):
        high = int(random.integers(0, 2))
        write_tone(root / "Audios" / f"MSP-PODCAST_{number:04d}.wav", high, random)
        part = ("Train", "Train", "Development", "Test1", "Test2")[number % 5]
        values = f"{2 + 3 * high + random.normal(0, 0.2):.3f},{random.uniform(1, 7):.3f},4.0"
        lines.append(f"MSP-PODCAST_{number:04d}.wav,{'XOAN'[number % 4]},{values},{number % 15},Male,{part}")
    (root / "labels_consensus.csv").write_text("\n".join(lines) + "\n")
    return root
