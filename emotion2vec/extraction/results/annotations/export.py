"""Where annotations go: a file for each recording and kind, or one that the user names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.disk import FULL
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.results.annotations.formats import FORMATS, Format
from emotion2vec.extraction.results.annotations.tiers import Annotation, Collected
from emotion2vec.extraction.results.names import file_names
from emotion2vec.files import write_text
from emotion2vec.stopping import Interrupts

BY_SUFFIX = {kind.suffix.lower(): name for name, kind in FORMATS.items()}

AnyFile = Callable[[Path], AbstractContextManager[Path]]
"""Gives a path to write to, and that file its name when it is complete."""


def split_export(export: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The formats and the files that are asked for; several in one have commas between them."""
    wanted = [one.strip() for text in export for one in text.split(",") if one.strip()]
    names = [one.lower() for one in wanted if one.lower() in FORMATS]
    return list(dict.fromkeys(names)), [Path(one) for one in dict.fromkeys(wanted) if one.lower() not in FORMATS]


def export_faults(export: Sequence[str]) -> list[str]:
    """What is wrong with what is asked for."""
    endings = ", ".join(kind.suffix for kind in FORMATS.values())
    return [
        f"export is {path}, expected {', '.join(FORMATS)}, or a file that ends in {endings}"
        for path in split_export(export)[1]
        if path.suffix.lower() not in BY_SUFFIX
    ]


class Exported(Collected):
    """Collects rows, and writes annotations when all are there.

    Args:
        export: formats, and files.
        folder: of the files of formats.
        labels: the K labels.
        items: all clips.
        file: gives a file of the user's its name when it is complete.

    Attributes:
        faults: annotations that could not be written.

    Raises:
        ConfigError: a file is named for several recordings, and its kind holds one.
    """

    def __init__(
        self, export: Sequence[str], folder: Path, labels: Sequence[str], items: Sequence[Utterance], file: AnyFile
    ):
        super().__init__(labels, file_names(list(dict.fromkeys(item.file for item in items))))
        names, self._paths = split_export(export)
        self._formats = [FORMATS[name] for name in names]
        self._folder, self._file = folder, file
        self.faults: list[Fault] = []
        for path in self._paths:
            if not _kind_of(path).many and len(self._names) > 1:
                raise ConfigError(
                    f"export is {path}, one file, and there are {len(self._names)} recordings: expected the name of a "
                    f"format, {', '.join(FORMATS)}, for a file of each"
                )

    def write(self) -> None:
        """Write what was collected; an interrupt waits for it.

        Raises:
            ConfigError: nothing more can be written.
        """
        with Interrupts():
            for annotation in self.annotations() if self._formats else ():
                for kind in self._formats:
                    self._write(annotation, kind)
            for path in self._paths:
                kind = _kind_of(path)
                with self._file(path) as partial, open(partial, "w", encoding="utf-8") as stream:
                    stream.writelines(kind.write(annotation) for annotation in self.annotations())

    def _write(self, annotation: Annotation, kind: Format) -> None:
        path = self._folder / f"{annotation.name}{kind.suffix}"
        try:
            write_text(path, kind.write(annotation))
        except OSError as error:
            if error.errno in FULL:
                raise ConfigError(f"output {path}: nothing more can be written: {error.strerror}") from error
            self.faults.append(Fault(annotation.file, f"its {kind.suffix} cannot be written: {error.strerror}"))


def _kind_of(path: Path) -> Format:
    return FORMATS[BY_SUFFIX[path.suffix.lower()]]


@contextmanager
def exporting(exported: Exported) -> Iterator[Exported]:
    """Write annotations at the end, also of what was there when Ctrl-C came."""
    try:
        yield exported
    except KeyboardInterrupt:
        exported.write()
        raise
    exported.write()
