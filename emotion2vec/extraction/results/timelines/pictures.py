"""Pictures of recordings as files: PNG, SVG, PDF and HTML, and in notebooks."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, overload

from emotion2vec.corpora.faults import Fault, examples, shortened
from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.extraction.results.annotations.formats import on_one_line
from emotion2vec.extraction.results.timelines.canvas import FONT, check_matplotlib, style
from emotion2vec.extraction.results.timelines.drawing import LONGEST_PAGE, PAGE, Page, pages_of
from emotion2vec.extraction.results.timelines.tracks import Timeline
from emotion2vec.files import OF_FILES, write_bytes
from emotion2vec.units import duration

logger = logging.getLogger(__name__)

KINDS = ("png", "svg", "pdf", "html")
"""Of files."""

SUFFIXES = (*(f".{kind}" for kind in KINDS), ".htm")
"""Of files, in lower case."""

DPI = 150

NOTEBOOK_LINES = 6
"""Lines of time of a recording that a notebook shows."""

SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+pt)" height="[^"]*"')
"""Of an SVG, in its first tag."""

COORDINATES = re.compile(r'(?<= d=")[^"]*')
DIGITS = re.compile(r"(\.\d\d)\d+")
"""What is less than a hundredth of a point."""


class Timelines(Sequence[Timeline]):
    """Recordings that can be drawn; a notebook shows the first of them.

    Args:
        timelines: of one collection.
        faults: rows that could not be read.
    """

    def __init__(self, timelines: Sequence[Timeline], faults: Sequence[Fault] = ()):
        self._timelines = list(timelines)
        self.faults = list(faults)

    @overload
    def __getitem__(self, place: int) -> Timeline: ...

    @overload
    def __getitem__(self, place: slice) -> Timelines: ...

    def __getitem__(self, place: int | slice) -> Timeline | Timelines:
        if isinstance(place, slice):
            return Timelines(self._timelines[place], self.faults)
        return self._timelines[place]

    def __len__(self) -> int:
        return len(self._timelines)

    def __repr__(self) -> str:
        named = examples(shortened(on_one_line(one.file), 60) for one in self)
        speakers = len({track.name for one in self for track in one.tracks})
        length = duration(sum(one.end for one in self))
        return f"Timelines of {named} ({length}, {speakers} speakers)" if len(self) else "Timelines of no recording"

    def _repr_html_(self) -> str | None:
        try:
            check_matplotlib()
        except ConfigError:
            return None
        page = next(pages_of(self, PAGE, NOTEBOOK_LINES), None)
        if page is None:
            return None
        rest = len(self) - len(page.layouts)
        return inline_svg(page) + f"<p>… and {rest} more recordings</p>" * bool(rest)

    def save(self, output: str | Path, kind: str | None = None) -> list[Path]:
        """Draw all recordings.

        Args:
            output: a file that ends in .png, .svg, .pdf or .html and shows all of them, or a folder for a file of each.
            kind: of files in a folder: png, which it is by default, svg, pdf or html.

        Returns:
            The files.

        Raises:
            ConfigError: matplotlib is missing, the kind is none, or one picture cannot show so many recordings.
            StorageError: a file cannot be written.
        """
        check_matplotlib()
        found = []
        for path, shown in self.files(Path(output), kind):
            try:
                write_bytes(path, picture(shown, path))
            except OSError as error:
                raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
            found.append(path)
        return found

    def files(self, output: Path, kind: str | None = None) -> Iterator[tuple[Path, Timelines]]:
        """The files that `save` writes, and what they show; raises as it does of names."""
        check_output(output, "output")
        if kind not in (None, *KINDS):
            raise ConfigError(f"format is {kind!r}, expected one of {', '.join(KINDS)}")
        if is_picture(output):
            if kind is not None and output.suffix.lower()[: 1 + len(kind)] != f".{kind}":
                raise ConfigError(f"output is {output} and format {kind}, expected one of them, or a folder")
            yield output, self
            return
        for place, one in enumerate(self):
            yield output / f"{one.name}.{kind or KINDS[0]}", self[place : place + 1]


def is_picture(output: Path) -> bool:
    """Whether a path names a file with a picture, and no folder."""
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def check_output(output: Path, what: str) -> None:
    """See to it that a path names a file with a picture, or a folder for several.

    Args:
        output: the path.
        what: the argument, for the message.

    Raises:
        ConfigError: it has the suffix of another file.
    """
    if output.suffix.lower() in OF_FILES - {*SUFFIXES} and not output.is_dir():
        raise ConfigError(f"{what} is {output}, expected a name that ends in {', '.join(SUFFIXES[:-1])}, or a folder")


def picture(timelines: Timelines, path: Path) -> bytes:
    """A file that shows recordings, of the kind that its name says.

    Raises:
        ConfigError: there are none, or it holds one page, and they take more.
    """
    if not len(timelines):
        raise ConfigError(f"{path}: there is no recording to draw")
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        return _html(timelines)
    pages = list(pages_of(timelines, PAGE if suffix == ".pdf" else LONGEST_PAGE))
    if suffix == ".pdf":
        return _pdf(pages)
    if len(pages) > 1:
        raise ConfigError(
            f"output is {path}, which is one page, and {len(timelines)} recordings take {len(pages)}: expected .pdf, "
            ".html or a folder"
        )
    return _page(pages[0], suffix[1:])


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in our style, and say once of all texts that there are letters that no font has."""
    from matplotlib import rc_context

    with rc_context(style()), warnings.catch_warnings(record=True) as said:
        yield
    if any("missing from font" in str(one.message) for one in said):
        logger.warning("names have letters that no font here has, and boxes stand for them: .svg and .html show them")


def _page(page: Page, kind: str) -> bytes:
    """A page as PNG or SVG, with nothing in it that differs from one day to the next, and no address."""
    stream = BytesIO()
    if kind == "png":
        with _styled():
            page.draw().figure().savefig(stream, format="png", dpi=DPI, metadata={"Software": "emotion2vec"})
        return stream.getvalue()
    nothing: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _styled():
        page.draw().figure().savefig(stream, format="svg", metadata=nothing)
    return _slim(stream.getvalue().decode()).encode()


def _slim(svg: str) -> str:
    """An SVG without the address of what it is, and with coordinates no finer than anybody sees."""
    head = '<?xml version="1.0" encoding="utf-8" standalone="no"?>\n'
    small = COORDINATES.sub(lambda found: DIGITS.sub(r"\1", found[0]), svg[svg.index("<svg") :])
    return head + small.replace(f"font-family: '{FONT}'", f"font-family: '{FONT}', Verdana, sans-serif")


def _pdf(pages: Sequence[Page]) -> bytes:
    from matplotlib.backends.backend_pdf import PdfPages

    stream = BytesIO()
    with _styled(), PdfPages(stream, metadata={"Creator": "emotion2vec", "CreationDate": None}) as file:
        for page in pages:
            file.savefig(page.draw().figure())
    return stream.getvalue()


def inline_svg(page: Page) -> str:
    """A page as an SVG within HTML, as wide as there is room for it."""
    svg = _page(page, "svg").decode()
    names = escape(shortened(on_one_line(", ".join(layout.timeline.file for layout in page.layouts)), 200))
    label = f'role="img" aria-label="Emotions over time: {names}"'
    return SIZE.sub(
        lambda found: f'{found[1]} {label} style="width:100%;max-width:{found[2]};height:auto"',
        svg[svg.index("<svg") :],
        count=1,
    )


def _html(timelines: Timelines) -> bytes:
    """A page that needs nothing but itself."""
    body = "".join(inline_svg(page) for page in pages_of(timelines))
    title = escape(on_one_line(timelines[0].file) if len(timelines) == 1 else f"{len(timelines)} recordings")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}: emotions over time</title>"
        "<style>body{margin:1rem auto;max-width:60rem;padding:0 1rem;background:#fff}</style></head>"
        f"<body>{body}</body></html>\n"
    ).encode()
