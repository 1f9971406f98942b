"""Small corpora in the layouts of IEMOCAP, MELD, M3ED, MOSI, MOSEI and MSP-Podcast: short tones of two pitches."""

from __future__ import annotations

import json
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


def write_m3ed(root: Path, label: Label, *, dialogues: int = 5, turns: int = 14) -> Path:
    """Three series, one of each part of the split, in which A and B take turns; utterances are listed in no order."""
    random = np.random.default_rng(0)
    people = {"A": {"Name": "Lin", "Gender": "Male"}, "B": {"Name": "Bai", "Gender": "Female"}}
    annotation: dict[str, dict] = {}
    (root / "splitInfo").mkdir(parents=True)
    for series, part in (("anjia", "train"), ("weiweiyixiao", "val"), ("xiaoshede", "test")):
        (root / "splitInfo" / f"movie_list_{part}.txt").write_text(series + "\n")
        for dialogue in range(1, dialogues + 1):
            heard = random.integers(0, 2, turns)
            told = {}
            for turn in random.permutation(turns).tolist():
                name, speaker = f"{series}_{dialogue}_{turn + 1}", "AB"[turn % 2]
                write_tone(root / "audio" / f"{speaker}_{name}.wav", int(heard[turn]), random)
                emotion = ("Sad", "Anger")[label(heard, turn)]
                told[name] = {
                    "Speaker": speaker,
                    "Text": "nihao",
                    "StartTime": f"00:00:{turn:02d}:00",
                    "EmoAnnotation": {"final_main_emo": emotion, "final_mul_emo": emotion},
                }
            annotation.setdefault(series, {})[f"{series}_{dialogue}"] = {"SpeakerInfo": people, "Dialog": told}
    (root / "annotation.json").write_text(json.dumps(annotation))
    return root


def write_sentiment(root: Path, *, videos: int = 10, clips: int = 6) -> Path:
    """MOSI and MOSEI with `label.csv`, a folder per video: high tones are liked, and every fifth clip is neutral."""
    random = np.random.default_rng(0)
    lines = ["video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"]
    for number in range(videos * clips):
        video, clip = f"vid-{number // clips}", number % clips + 1
        high = int(random.integers(0, 2))
        write_tone(root / "Raw" / video / f"{clip}.wav", high, random)
        value = 0.0 if number % 5 == 0 else (2 * high - 1) * random.integers(1, 16) / 5
        mode = ("train", "train", "train", "valid", "test")[number // clips % 5]
        lines.append(f'{video},{clip},"I think, well",{value},0,0,0,x,{mode}')
    (root / "label.csv").write_text("\n".join(lines) + "\n")
    return root


def write_released_mosi(root: Path, *, whole: bool, clips: int = 8) -> Path:
    """MOSI as CMU released it, of videos of each part of the standard split: its clips, or the whole videos."""
    random = np.random.default_rng(0)
    videos = ("2iD-tVS8NPw", "03bSnISJMiM", "IumbAb8q2dM", "WKA5OygbEKI", "tmZoasNr4rU", "c7UH_rxdZv4")
    folder, transcripts = root / "Raw" / "Audio" / "WAV_16000", root / "Raw" / "Transcript" / "Segmented"
    (root / "Raw" / "Labels").mkdir(parents=True)
    transcripts.mkdir(parents=True)
    lines = []
    for video in videos:
        signal, texts = np.zeros(0), []
        for clip in range(1, clips + 1):
            high = int(random.integers(0, 2))
            file = folder / "Segmented" / f"{video}_{clip}.wav"
            write_tone(file, high, random)
            lines.append(f"{(clip - 1) / 10},{clip / 10},{video},{clip},{(2 * high - 1) * random.uniform(1, 3):.2f}")
            texts.append(f"{clip}_DELIM_LIKE {clip}")
            if whole:
                signal = np.concatenate([signal, soundfile.read(file)[0]])
                file.unlink()
        if whole:
            soundfile.write(folder / f"{video}.wav", signal, 16000)
        (transcripts / f"{video}.annotprocessed").write_text("\n".join(texts) + "\n")
    (root / "Raw" / "Labels" / "OpinionLevelSentiment.csv").write_text("\n".join(lines) + "\n")
    return root
