"""Corpora whose file names say everything, by their documented naming schemes, read whatever the extension.

A reader is a regular expression over a clip's stem (or, with `folder`, over `parent/stem`) with named groups for the
fields of `Clip`, and what their codes mean. `clips` is the published number of utterances, which reading checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIELDS = ("label", "speaker", "gender", "session", "text", "intensity")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How to read one corpus."""

    title: str
    example: str
    """A clip's stem, for messages."""
    pattern: str
    clips: int | None = None
    """Utterances of the complete corpus, as published; None where releases differ."""
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the codes of a field mean; a field without codes is taken as it is, in lower case for labels."""
    women: str = ""
    """Regular expression of the speakers who are women, where names do not say it otherwise."""
    folder: bool = False
    """The folder of the file is part of its name."""

    def read(self, path: Path) -> dict[str, str] | None:
        """Turn a file's path into fields of `Clip`, or None when it is not a clip of this corpus."""
        name = f"{path.parent.name}/{path.stem}" if self.folder else path.stem
        match = re.fullmatch(self.pattern, name, flags=re.IGNORECASE)
        if match is None:
            return None
        facts = {name: value for name, value in match.groupdict().items() if value}
        for name, meanings in self.codes.items():
            if name in facts:
                facts[name] = meanings[facts[name].lower()]
        if "gender" not in facts and self.women:
            facts["gender"] = "female" if re.fullmatch(self.women, facts["speaker"], re.IGNORECASE) else "male"
        return {name: value.lower() if name == "label" else value for name, value in facts.items() if name in FIELDS}


RAVDESS_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
RAVDESS_NAME = r"(?P<label>0[1-8])-(?P<intensity>\d\d)-(?P<text>\d\d)-\d\d-(?P<speaker>\d\d)"
SEX = {"f": "female", "m": "male"}

CORPORA = {
    # Theodoros Iosif et al., 2018: emotion, utterance, speaker in parentheses.
    "aesdd": Corpus(
        title="AESDD",
        example="a01 (1)",
        pattern=r"(?P<label>[adfhs])(?P<text>\d\d) ?\((?P<speaker>\d)\)b?",
        codes={"label": {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}},
    ),
    # Retta et al., 2023: emotion, sentence, repetition, sex (01 female), speaker.
    "ased": Corpus(
        title="ASED v1",
        clips=2474,
        example="a5-02-01-01-33",
        pattern=r"(?P<label>[nfhsa])\d-(?P<text>\d\d)-\d\d-(?P<gender>01|02)-(?P<speaker>\d\d)",
        codes={
            "label": {"n": "neutral", "f": "fear", "h": "happiness", "s": "sadness", "a": "anger"},
            "gender": {"01": "female", "02": "male"},
        },
    ),
    # Gournay et al., 2018: actor (even: women), emotion in French, intensity, sentence.
    "cafe": Corpus(
        title="CaFE",
        clips=936,
        example="01-C-1-1",
        pattern=r"(?P<speaker>\d\d)-(?P<label>[CDJNPST])-(?P<intensity>[12])-(?P<text>[1-6])",
        codes={
            "label": {
                "c": "anger",
                "d": "disgust",
                "j": "happiness",
                "n": "neutral",
                "p": "fear",
                "s": "surprise",
                "t": "sadness",
            }
        },
        women=r"\d[02468]",
    ),
    # Cao et al., 2014: actor, sentence, emotion, level.
    "crema-d": Corpus(
        title="CREMA-D",
        clips=7442,
        example="1001_DFA_ANG_XX",
        pattern=r"(?P<speaker>\d{4})_(?P<text>[A-Z]{3})_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|X|XX)",
        codes={
            "label": {
                "ang": "anger",
                "dis": "disgust",
                "fea": "fear",
                "hap": "happiness",
                "neu": "neutral",
                "sad": "sadness",
            }
        },
    ),
    # Burkhardt et al., 2005: speaker, text, emotion's German initial (A: Angst), version.
    "emodb": Corpus(
        title="EmoDB",
        clips=535,
        example="03a01Fa",
        pattern=r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<label>[WLEAFTN])[a-z]?",
        codes={
            "label": {
                "w": "anger",
                "l": "boredom",
                "e": "disgust",
                "a": "fear",
                "f": "happiness",
                "t": "sadness",
                "n": "neutral",
            }
        },
        women="08|09|13|14|16",
    ),
    # Costantini et al., 2014: emotion in Italian, speaker, sentence.
    "emovo": Corpus(
        title="EMOVO",
        clips=588,
        example="dis-f1-b1",
        pattern=r"(?P<label>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm]\d)-(?P<text>[a-z]+\d?)",
        codes={
            "label": {
                "dis": "disgust",
                "gio": "happiness",
                "neu": "neutral",
                "pau": "fear",
                "rab": "anger",
                "sor": "surprise",
                "tri": "sadness",
            }
        },
        women=r"f\d",
    ),
    # Christop, 2024, arXiv:2404.06292: speaker, emotion, sentence.
    "nemo": Corpus(
        title="nEMO",
        clips=4481,
        example="WR0_surprised_64",
        pattern=r"(?P<speaker>[A-Z]{2}\d)_(?P<label>anger|fear|happiness|neutral|sadness|surprised)_(?P<text>\d+)",
        women="(?!KS0|MP0|SM0|TP0|WR0).*",
    ),
    # Livingstone and Russo, 2018: modality (03 audio), channel (01 speech, 02 song), emotion, ..., actor (even: women).
    "ravdess": Corpus(
        title="RAVDESS speech",
        clips=1440,
        example="03-01-06-01-02-01-12",
        pattern=f"03-01-{RAVDESS_NAME}",
        codes={"label": RAVDESS_EMOTIONS},
        women=r"\d[02468]",
    ),
    "ravdess-song": Corpus(
        title="RAVDESS song",
        clips=1012,
        example="03-02-06-01-02-01-12",
        pattern=f"03-02-{RAVDESS_NAME}",
        codes={"label": RAVDESS_EMOTIONS},
        women=r"\d[02468]",
    ),
    # Haq and Jackson, 2009: folder of the speaker, emotion and sentence; four men.
    "savee": Corpus(
        title="SAVEE",
        clips=480,
        example="DC/sa01",
        pattern=r"(?:.*/)?(?P<speaker>DC|JE|JK|KL)[/_](?P<label>sa|su|a|d|f|h|n)(?P<text>\d\d)",
        codes={
            "label": {
                "a": "anger",
                "d": "disgust",
                "f": "fear",
                "h": "happiness",
                "n": "neutral",
                "sa": "sadness",
                "su": "surprise",
            }
        },
        women="none",
        folder=True,
    ),
    # Mohamad Nezami et al., 2019: sex, speaker, emotion (W: wonder), number.
    "shemo": Corpus(
        title="ShEMO",
        clips=3000,
        example="F01A01",
        pattern=r"(?P<speaker>[FM]\d\d)(?P<label>[AFHNSW])\d\d",
        codes={
            "label": {
                "a": "anger",
                "f": "fear",
                "h": "happiness",
                "n": "neutral",
                "s": "sadness",
                "w": "surprise",
            }
        },
        women="F.*",
    ),
    # Sultana et al., 2021: sex, speaker, name, S, sentence, emotion, take.
    "subesco": Corpus(
        title="SUBESCO",
        clips=7000,
        example="F_01_OISHI_S_10_ANGRY_5",
        pattern=r"(?P<speaker>[FM]_\d\d)_[A-Z]+_S_(?P<text>\d+)_(?P<label>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_\d",
        codes={
            "label": {
                "angry": "anger",
                "disgust": "disgust",
                "fear": "fear",
                "happy": "happiness",
                "neutral": "neutral",
                "sad": "sadness",
                "surprise": "surprise",
            }
        },
        women="F.*",
    ),
    # Pichora-Fuller and Dupuis, 2020: speaker (two women), word, emotion (ps: pleasant surprise).
    "tess": Corpus(
        title="TESS",
        clips=2800,
        example="OAF_back_angry",
        pattern=r"(?P<speaker>OAF?|YAF)_(?P<text>[a-z]+)_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)",
        codes={
            "label": {
                "angry": "anger",
                "disgust": "disgust",
                "fear": "fear",
                "happy": "happiness",
                "neutral": "neutral",
                "ps": "surprise",
                "sad": "sadness",
            },
            "speaker": {"oaf": "OAF", "oa": "OAF", "yaf": "YAF"},  # one file lacks its F
        },
        women=".*",
    ),
    # Latif et al., 2018: folder of the emotion; speaker, then file and number.
    "urdu": Corpus(
        title="URDU",
        clips=400,
        example="Angry/SM1_F1_A1",
        pattern=r"(?P<label>angry|happy|neutral|sad)/(?P<speaker>S[FM]\d+)_F\d+_[A-Z]\d+",
        codes={"label": {"angry": "anger", "happy": "happiness", "neutral": "neutral", "sad": "sadness"}},
        women=r"SF\d+",
        folder=True,
    ),
}
"""Corpora by the name that `--dataset` takes."""
