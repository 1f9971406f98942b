"""What tables call things: the user's names for columns and labels, in place of ours, and guesses for messages."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES
from emotion2vec.corpora.lists.records import Table
from emotion2vec.corpora.lists.rows import END_FIELDS, LABEL_FIELDS, OTHER_FACTS, SPEAKER_FIELDS, START_FIELDS
from emotion2vec.corpora.lists.spans import check_whole, span_names
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.guesses import meant

logger = logging.getLogger(__name__)

COLUMNS_HELP = "What a table calls its columns, ours first: file=Datei,emotion=Gefuehl,start=Beginn; may be repeated."
LABELS_HELP = "What a table calls labels, ours first: angry=Wut,sad=Trauer; may be repeated."

ALIASES = (LABEL_FIELDS, SPEAKER_FIELDS, START_FIELDS, END_FIELDS)
"""Columns that are one thing under several names."""

PLACES = frozenset({"file", "channel", *SPEAKER_FIELDS, *START_FIELDS, *END_FIELDS})
"""Columns that say which stretch of which file a row is, and who speaks."""

TEXTS = frozenset({"file", *LABEL_FIELDS, *SPEAKER_FIELDS, *OTHER_FACTS})
"""Columns that hold no numbers, or numbers that are names."""

DECIMAL_COMMA = re.compile(r"\s*([+-]?\d+),(\d+)\s*")

LIKELY = {
    "file": "filename file_name filepath file_path path audio audio_path audiofile wav wav_path wavfile recording "
    "clip clip_name name url uri datei dateiname dateipfad pfad aufnahme fichier archivo ruta plik",
    "emotion": "emo emotion label labels class category target sentiment affect valence_class annotation gefuehl "
    "gefühl emotionslabel klasse kategorie stimmung etikett emocja emoción",
    "speaker": "spk speaker_id speakerid spkr subject participant actor person sprecher sprecher_id proband vp "
    "versuchsperson locuteur hablante",
}
"""What tables call things, most likely first, in lower case; of segments see `span_names`."""

MOST_SEEN = 1000
"""Different names that are remembered, of which some may be meant by names that nothing has."""


@dataclass(frozen=True)
class Names:
    """How tables are read.

    Attributes:
        columns: the table's names by ours, which are in lower case.
        labels: our labels by the table's.
        keep: whether rows keep what else the table says of them, see `Utterance.row`.
        met: columns, in lower case, and labels that were there.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    met: dict[str, set[str]] = field(default_factory=lambda: {"columns": set(), "labels": set()}, compare=False)

    @classmethod
    def of(cls, columns: Sequence[str] = (), labels: Sequence[str] = (), *, keep: bool = False) -> Names:
        """Read what a user says: `ours=theirs`, several in one with commas between them.

        Raises:
            ConfigError: something has no `=`, or a name is given twice; all faults at once.
        """
        faults: list[str] = []
        ours = {our.lower(): their for our, their in _pairs("columns", columns, faults)}
        theirs = {their: our for our, their in _pairs("labels", labels, faults, several=True)}
        if faults:
            raise ConfigError("; ".join(faults))
        return cls(ours, theirs, keep)

    def table(self, source: Path, table: Table) -> Table:
        """The table under our names, in lower case, with decimal points.

        Raises:
            ManifestError: it lacks a column that is named.
        """
        lower = [name.lower() for name in table.columns]
        if absent := [their for their in self.columns.values() if their.lower() not in lower]:
            raise ManifestError(
                f"{source}: columns names {', '.join(map(repr, absent))}, which it has not; it has the columns "
                f"{', '.join(table.columns)}"
            )
        try:
            check_whole(lower, self.columns)
        except ValueError as error:
            raise ManifestError(f"{source}: {error}") from error
        spans = span_names(frozenset(lower), frozenset(self.columns))
        records = [(line, self.record(cells, table.commas)) for line, cells in table.records]
        columns = [*(spans.get(name, name) for name in lower if name not in self._hidden), *self.columns]
        return replace(table, columns=list(dict.fromkeys(columns)), records=records)

    @cached_property
    def _hidden(self) -> set[str]:
        """Names of ours that stand for something else than the user says."""
        return {alias for our in self.columns for group in ALIASES if our in group for alias in group}

    @cached_property
    def _theirs(self) -> dict[str, str]:
        """Our names by the table's, in lower case."""
        return {their.lower(): our for our, their in self.columns.items()}

    def record(self, cells: Mapping[str, Any], commas: bool = False) -> dict[str, Any]:
        """One row under our names, with decimal points where it may have commas."""
        low = {name.lower(): cell for name, cell in cells.items()}
        spans = span_names(frozenset(low), frozenset(self.columns))
        named = {spans.get(name, name): cell for name, cell in low.items() if name not in self._hidden}
        named |= {our: low[their] for their, our in self._theirs.items() if their in low}
        self._meet("columns", low if self.columns else ())
        if commas:
            for name, cell in named.items():
                if name not in TEXTS and (found := DECIMAL_COMMA.fullmatch(cell)):
                    named[name] = f"{found[1]}.{found[2]}"
        for name in LABEL_FIELDS if self.labels else ():
            if isinstance(label := named.get(name), str):
                self._meet("labels", [label.strip()])
                named[name] = self.labels.get(label.strip(), label)
        return named

    def _meet(self, what: str, names: Iterable[str]) -> None:
        """Remember what was there: what the user names, and so many others."""
        met, wanted = self.met[what], self._theirs if what == "columns" else self.labels
        for name in names:
            if name in wanted or len(met) < MOST_SEEN:
                met.add(name)

    def unused(self) -> list[str]:
        """What to say of names that nothing has that was read."""
        said = []
        for what, names in (("columns", list(self.columns.values())), ("labels", list(self.labels))):
            met = self.met[what]
            for name in names:
                if (name.lower() if what == "columns" else name) not in met:
                    said.append(f"{what} names {name!r}, which nothing is called in what was read{meant(name, met)}")
        return said

    def warn(self) -> None:
        """Say once, in the log, what of the names nothing has that was read."""
        if said := self.unused():
            logger.warning("%s", "; ".join(said))

    def rest(self, columns: Sequence[str]) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """What takes the cells out of a row that it keeps; None where it keeps none."""
        if not self.keep:
            return None
        theirs = {**span_names(frozenset(map(str.lower, columns)), frozenset(self.columns)), **self._theirs}
        kept = [name for name in columns if name and theirs.get(name.lower(), name.lower()) not in PLACES]
        labels = {name for name in kept if theirs.get(name.lower(), name.lower()) in LABEL_FIELDS}

        def take(cells: Mapping[str, Any]) -> dict[str, Any]:
            known = ((name, cells[name]) for name in kept if cells.get(name) not in (None, ""))
            return {name: self.labels.get(cell, cell) if name in labels else cell for name, cell in known}

        return take


def _pairs(what: str, texts: Sequence[str], faults: list[str], *, several: bool = False) -> list[tuple[str, str]]:
    """Pairs of `ours=theirs`; a comma within a name is one that no `name=` follows."""
    found: list[tuple[str, str]] = []
    for text in [texts] if isinstance(texts, str) else texts:
        for part in re.split(r",(?=[^,=]+=)", text):
            ours, equals, theirs = (piece.strip() for piece in part.partition("="))
            if not (ours and equals and theirs):
                faults.append(f"{what} has {part!r}, expected OURS=THEIRS, such as {EXAMPLES[what]}")
            else:
                found.append((ours, theirs))
    sides = [theirs if several else ours.lower() for ours, theirs in found]
    if twice := sorted({side for side in sides if sides.count(side) > 1}):
        faults.append(f"{what} has {', '.join(twice)} twice, expected each once")
    return found


EXAMPLES = {"columns": "file=Datei", "labels": "angry=Wut"}


def likely(wanted: str, table: Table) -> str | None:
    """The column of a table that is likely to be the one that is wanted: by its name, or by what it holds."""
    lower = {name.lower(): name for name in table.columns if name}
    for guess in LIKELY.get(wanted, "").split():
        if guess in lower:
            return lower[guess]
    if wanted == "file":
        for _, cells in table.records[:1]:
            for name, cell in cells.items():
                if name and Path(cell.strip().replace("\\", "/")).suffix.lower() in AUDIO_SUFFIXES:
                    return name
    return None


def hint(wanted: Sequence[str], table: Table) -> str:
    """What to write for columns that a table lacks, where others are likely to be them; nothing otherwise."""
    guesses = [(name, guess) for name in wanted if (guess := likely(name, table)) is not None]
    if not guesses:
        return ""
    given = ",".join(f"{name}={guess}" for name, guess in guesses)
    return f"; if that is {' and '.join(repr(guess) for _, guess in guesses)}, say columns {given} (--columns {given})"
