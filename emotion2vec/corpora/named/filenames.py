"""Corpora whose file names say everything, by their documented naming schemes, read whatever the extension.

A reader is a regular expression over the end of a clip's path (without its ending) with named groups for the fields of
`Utterance`, and what the codes of labels mean. `clips` is the published number of utterances, which reading checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import audio_files, found_below
from emotion2vec.corpora.named.sentences import CREMA_D, EMODB, RAVDESS_SPEECH
from emotion2vec.corpora.names import stem, without_suffix
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted

FIELDS = ("label", "speaker", "gender", "session", "sentence", "intensity", "split")


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """How to read one corpus of clips that are named by a scheme."""

    title: str
    example: str
    """A clip's name, for messages."""
    pattern: str
    """Matches a clip's stem; with slashes, its last folders too."""
    labels: str = ""
    """Codes and what they mean: `a anger, s sadness`; empty where names have the label itself."""
    clips: int | None = None
    """Utterances of the complete corpus, as published; None where releases differ."""
    women: str | None = None
    """Regular expression of the speakers who are women, or of the code of sex where names have one; None: unknown."""
    language: str | None = None
    """What is spoken; None where that is not said here."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What is said, by the code of the sentence."""

    @cached_property
    def meanings(self) -> dict[str, str]:
        """Label of each code."""
        return {code.lower(): label for code, label in (entry.split() for entry in self.labels.split(",") if entry)}

    def read(self, path: Path) -> dict[str, str] | None:
        """Turn a file's path into fields of `Utterance`, or None when it is not a clip of this corpus."""
        name = without_suffix(path)
        match = re.fullmatch(f"(?:.*?/)??(?:{self.pattern})", name, re.IGNORECASE)  # with all folders that it can use
        if match is None:
            return None
        facts = {name: value for name, value in match.groupdict().items() if name in FIELDS and value}
        facts["label"] = self.meanings.get(facts["label"].lower(), facts["label"].lower())
        if self.women is not None:
            sex = facts.get("gender", facts.get("speaker", ""))
            facts["gender"] = "female" if re.fullmatch(self.women, sex, re.IGNORECASE) else "male"
        said = {"language": self.language, "text": self.texts.get(facts.get("sentence", "").lower())}
        return facts | {name: value for name, value in said.items() if value}


def read_by_name(name: str, corpus: FileNames, root: Path) -> Corpus:
    """Find the clips of a corpus anywhere below `root`, sorted by stem; see `read_named`."""
    found: dict[tuple[str, str], Utterance] = {}
    doubled: list[str] = []
    strangers: list[str] = []
    audio = audio_files(root, doubles=False)
    for path in audio:
        facts = corpus.read(path)
        file = path.relative_to(root).as_posix()
        if facts is None:
            strangers.append(file)
            continue
        key = stem(path), facts.get("speaker", "")  # SAVEE's speakers share stems
        if key in found:
            doubled.append(file)
            continue
        found[key] = found_below(root, path, **facts)
    if not found:
        seen = f"{len(audio)} audio files such as {audio[0].name}" if audio else "no audio files"
        clips_of = f"{corpus.clips} clips of {corpus.title}" if corpus.clips else f"clips of {corpus.title}"
        raise ManifestError(f"root {root}: found {seen}, expected the {clips_of}, named such as {corpus.example}.wav")
    warnings = []
    if doubled:
        count = counted(len(doubled), f"clip of {corpus.title} lies", f"clips of {corpus.title} lie")
        warnings.append(f"{count} below {root} twice; left out: {examples(doubled)}")
    if strangers:
        warnings.append(
            f"{len(strangers)} audio files below {root} are no clips of {corpus.title}; left out: {examples(strangers)}"
        )
    if corpus.clips is not None and len(found) != corpus.clips:
        warnings.append(f"{root} holds {counted(len(found), 'clip')} of {corpus.title}, expected {corpus.clips}")
    clips = tuple(found[key] for key in sorted(found))
    return Corpus(name=name, root=root, utterances=clips, warnings=tuple(warnings))


RAVDESS = {
    "pattern": r"(?P<label>0[1-8])-(?P<intensity>\d\d)-(?P<sentence>\d\d)-\d\d-(?P<speaker>\d\d)",
    "labels": "01 neutral, 02 calm, 03 happiness, 04 sadness, 05 anger, 06 fear, 07 disgust, 08 surprise",
}
EVEN = r"\d[02468]"
RESD_EMOTION = "(?:anger|disgust|enthusiasm|fear|happiness|neutral|sadness)"

FILE_NAMES = {
    # Vryzas et al., 2018: emotion, utterance, speaker in parentheses.
    "aesdd": FileNames(
        title="AESDD",
        example="a01 (1)",
        pattern=r"(?P<label>[adfhs])(?P<sentence>\d\d) ?\((?P<speaker>\d)\)b?",
        labels="a anger, d disgust, f fear, h happiness, s sadness",
    ),
    # Retta et al., 2023: emotion, sentence, repetition, sex (01 female), speaker.
    "ased": FileNames(
        title="ASED v1",
        clips=2474,
        example="a5-02-01-01-33",
        pattern=r"(?P<label>[nfhsa])\d-(?P<sentence>\d\d)-\d\d-(?P<gender>01|02)-(?P<speaker>\d\d)",
        labels="n neutral, f fear, h happiness, s sadness, a anger",
        women="01",
    ),
    # Gournay et al., 2018: actor (even: women), emotion in French, intensity, sentence.
    "cafe": FileNames(
        title="CaFE",
        clips=936,
        example="01-C-1-1",
        pattern=r"(?P<speaker>\d\d)-(?P<label>[CDJNPST])-(?P<intensity>[12])-(?P<sentence>[1-6])",
        labels="c anger, d disgust, j happiness, n neutral, p fear, s surprise, t sadness",
        women=EVEN,
    ),
    # Cao et al., 2014: actor, sentence, emotion, level.
    "crema-d": FileNames(
        title="CREMA-D",
        clips=7442,
        example="1001_DFA_ANG_XX",
        pattern=r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_"
        r"(?P<intensity>LO|MD|HI|X|XX)",
        labels="ang anger, dis disgust, fea fear, hap happiness, neu neutral, sad sadness",
        language="en",
        texts=CREMA_D,
    ),
    # Burkhardt et al., 2005: speaker, text, emotion's German initial (A: Angst, anxiety and fear), version.
    "emodb": FileNames(
        title="EmoDB",
        clips=535,
        example="03a01Fa",
        pattern=r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<label>[WLEAFTN])[a-z]?",
        labels="w anger, l boredom, e disgust, a fear, f happiness, t sadness, n neutral",
        women="08|09|13|14|16",
        language="de",
        texts=EMODB,
    ),
    # Costantini et al., 2014: emotion in Italian, speaker, sentence.
    "emovo": FileNames(
        title="EMOVO",
        clips=588,
        example="dis-f1-b1",
        pattern=r"(?P<label>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm]\d)-(?P<sentence>[a-z]+\d?)",
        labels="dis disgust, gio happiness, neu neutral, pau fear, rab anger, sor surprise, tri sadness",
        women=r"f\d",
    ),
    # Christop, 2024, arXiv:2404.06292: speaker, emotion, sentence.
    "nemo": FileNames(
        title="nEMO",
        clips=4481,
        example="WR0_surprised_64",
        pattern=r"(?P<speaker>[A-Z]{2}\d)_(?P<label>anger|fear|happiness|neutral|sadness|surprised)_(?P<sentence>\d+)",
        women="(?!KS0|MP0|SM0|TP0|WR0).*",
    ),
    # Livingstone and Russo, 2018: modality (03 audio), channel (01 speech, 02 song), emotion, ..., actor (even: women).
    "ravdess": FileNames(
        title="RAVDESS speech",
        clips=1440,
        example="03-01-06-01-02-01-12",
        pattern=f"03-01-{RAVDESS['pattern']}",
        labels=RAVDESS["labels"],
        women=EVEN,
        language="en",
        texts=RAVDESS_SPEECH,
    ),
    "ravdess-song": FileNames(
        title="RAVDESS song",
        clips=1012,
        example="03-02-06-01-02-01-12",
        pattern=f"03-02-{RAVDESS['pattern']}",
        labels=RAVDESS["labels"],
        women=EVEN,
    ),
    # Aniemore, 2022, huggingface.co/datasets/Aniemore/resd: split, dialogue with its two emotions, the clip's emotion,
    # number. Who speaks is not said, only which of the two parts of which dialogue.
    "resd": FileNames(
        title="RESD",
        clips=1396,
        example="train/happiness_enthusiasm_32/32_happiness_enthusiasm_h_120",
        pattern=rf"(?:(?P<split>train|test)/(?:[^/]+/)?)?(?P<session>\d\d)_{RESD_EMOTION}_{RESD_EMOTION}[ _]"
        r"(?P<label>[adefhns])_\d+",
        labels="a anger, d disgust, e enthusiasm, f fear, h happiness, n neutral, s sadness",
    ),
    # Haq and Jackson, 2009: folder of the speaker (or the speaker in the name), emotion and sentence; four men.
    "savee": FileNames(
        title="SAVEE",
        clips=480,
        example="DC/sa01",
        pattern=r"(?P<speaker>DC|JE|JK|KL)[/_](?P<label>sa|su|a|d|f|h|n)(?P<sentence>\d\d)",
        labels="a anger, d disgust, f fear, h happiness, n neutral, sa sadness, su surprise",
        women="none",
    ),
    # Mohamad Nezami et al., 2019: sex, speaker, emotion (W: wonder), number.
    "shemo": FileNames(
        title="ShEMO",
        clips=3000,
        example="F01A01",
        pattern=r"(?P<speaker>[FM]\d\d)(?P<label>[AFHNSW])\d\d",
        labels="a anger, f fear, h happiness, n neutral, s sadness, w surprise",
        women="F.*",
    ),
    # Sultana et al., 2021: sex, speaker, name, S, sentence, emotion, take.
    "subesco": FileNames(
        title="SUBESCO",
        clips=7000,
        example="F_01_OISHI_S_10_ANGRY_5",
        pattern=r"(?P<speaker>[FM]_\d\d)_[A-Z]+_S_(?P<sentence>\d+)_"
        r"(?P<label>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_\d",
        labels="angry anger, happy happiness, sad sadness",
        women="F.*",
    ),
    # Pichora-Fuller and Dupuis, 2020: speaker (two women; one name lacks its F), word, emotion (ps: pleasant surprise).
    "tess": FileNames(
        title="TESS",
        clips=2800,
        example="OAF_back_angry",
        pattern=r"(?P<speaker>OA|YA)F?_(?P<sentence>[a-z]+)_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)",
        labels="angry anger, happy happiness, ps surprise, sad sadness",
        women=".*",
    ),
    # Canpolat et al., 2020: speaker, emotion in Turkish, word.
    "turev-db": FileNames(
        title="TurEV-DB",
        clips=1735,
        example="1157_kz_acik",
        pattern=r"(?P<speaker>\d{4})_(?P<label>kz|sk|mt|hl)_(?P<sentence>[a-z]+)",
        labels="kz anger, sk calm, mt happiness, hl sadness",
    ),
    # Latif et al., 2018: sex and speaker, file, emotion and number.
    "urdu": FileNames(
        title="URDU",
        clips=400,
        example="SM1_F1_A1",
        pattern=r"(?P<speaker>S[FM]\d+)_F\d+_(?P<label>[AHNS])\d+",
        labels="a anger, h happiness, n neutral, s sadness",
        women=r"SF\d+",
    ),
}
"""Corpora by the name that `--dataset` takes."""
