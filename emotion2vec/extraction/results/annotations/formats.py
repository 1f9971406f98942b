"""Annotations as text: Praat, ELAN, Audacity, RTTM, SubRip and WebVTT."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from emotion2vec.audio.decode.reading import read_header
from emotion2vec.errors import AudioError
from emotion2vec.extraction.results.annotations.tiers import Annotation, Mark, Tier

SPACE = re.compile(r"\s+")
"""What a field of one line or one word cannot hold."""

CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold; other files hold it, but nobody can read it."""


@dataclass(frozen=True)
class Format:
    """A kind of annotation file.

    Attributes:
        suffix: of its files.
        write: the text of a recording's file.
        many: whether a file may hold several recordings.
    """

    suffix: str
    write: Callable[[Annotation], str]
    many: bool = False


def visible(text: str) -> str:
    """Text without what no file of these kinds can hold: control characters are shown as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def on_one_line(text: str) -> str:
    """Text without tabs and ends of lines."""
    return SPACE.sub(" ", visible(text)).strip()


def one_word(text: str) -> str:
    """Text without white space, as a field of RTTM."""
    return SPACE.sub("_", visible(text).strip()) or "_"


def textgrid(annotation: Annotation) -> str:
    """Praat's TextGrid in its long form: intervals from 0 to the recording's end, empty ones where nothing is said."""
    shown = annotation.apart
    seconds = max(shown.seconds, _length(shown.audio))
    end = f"{seconds:.6f}"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(shown.tiers)}", "item []:"]
    for number, tier in enumerate(shown.tiers, start=1):
        intervals = _filled(tier.marks, seconds)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(tier.name)}"]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for place, (start, stop, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start:.6f}"]
            lines += [f"            xmax = {stop:.6f}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def _length(audio: str) -> float:
    """Length of a file in s, by its header; 0 of what is none."""
    if not os.path.isfile(audio):
        return 0.0
    try:
        header = read_header(Path(audio), audio, accept_damaged=True, thorough=False)
    except AudioError:
        return 0.0
    return header.samples / header.rate


def _quoted(text: str) -> str:
    return '"' + visible(text).replace('"', '""') + '"'


def _filled(marks: list[Mark], seconds: float) -> list[tuple[float, float, str]]:
    """Marks with empty intervals between them, from 0 to the end."""
    found: list[tuple[float, float, str]] = []
    last = 0.0
    for mark in marks:
        if mark.start > last:
            found.append((last, mark.start, ""))
        found.append((mark.start, mark.end, mark.label))
        last = mark.end
    return found + [(last, seconds, "")] * (seconds > last)


SCHEMA = {
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
"""What an .eaf says that it is."""


def elan(annotation: Annotation) -> str:
    """ELAN's .eaf: a tier for each speaker, times in ms, and the recording linked by its path."""
    shown = annotation.apart
    facts = {"AUTHOR": "emotion2vec", "DATE": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S+00:00}"}
    root = ElementTree.Element("ANNOTATION_DOCUMENT", {**facts, "FORMAT": "3.0", "VERSION": "3.0", **SCHEMA})
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    place = visible(os.path.abspath(shown.audio)) if "://" not in shown.audio else visible(shown.audio)
    url = Path(place).as_uri() if "://" not in place else place
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=url, MIME_TYPE="audio/x-wav")
    order = ElementTree.SubElement(root, "TIME_ORDER")
    number = 0
    for tier in shown.tiers:
        facts = {"TIER_ID": visible(tier.name), "LINGUISTIC_TYPE_REF": "default-lt"}
        facts |= {"PARTICIPANT": visible(tier.speaker)} if tier.speaker else {}
        holder = ElementTree.SubElement(root, "TIER", facts)
        for mark in tier.marks:
            number += 1
            slots = [f"ts{2 * number - 1}", f"ts{2 * number}"]
            for slot, time in zip(slots, (mark.start, mark.end), strict=True):
                ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(round(time * 1000)))
            entry = ElementTree.SubElement(holder, "ANNOTATION")
            refs = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
            aligned = ElementTree.SubElement(entry, "ALIGNABLE_ANNOTATION", refs)
            ElementTree.SubElement(aligned, "ANNOTATION_VALUE").text = visible(mark.label)
    kind = {"LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def audacity(annotation: Annotation) -> str:
    """Audacity's label track: start, end and text, with tabs between them."""
    return "".join(f"{mark.start:.6f}\t{mark.end:.6f}\t{_said(tier, mark)}\n" for tier, mark in annotation.in_order)


def rttm(annotation: Annotation) -> str:
    """NIST's RTTM: the speaker as the name, or the label where nobody is known; the label is the subtype too."""
    recording = one_word(annotation.name)
    lines = []
    for tier, mark in annotation.in_order:
        channel, label = (tier.channel or 0) + 1, one_word(mark.label)
        name = label if tier.speaker is None else one_word(tier.speaker)
        times = f"{mark.start:.3f} {mark.end - mark.start:.3f}"
        lines.append(f"SPEAKER {recording} {channel} {times} <NA> {label} {name} {mark.confidence:.3f} <NA>\n")
    return "".join(lines)


def srt(annotation: Annotation) -> str:
    """SubRip: numbered cues in the order of time."""
    cues = [
        f"{number}\n{_clock(mark.start, ',')} --> {_clock(mark.end, ',')}\n{_said(tier, mark)}\n\n"
        for number, (tier, mark) in enumerate(annotation.in_order, start=1)
    ]
    return "".join(cues)


def vtt(annotation: Annotation) -> str:
    """WebVTT, with speakers as voices."""
    cues = ["WEBVTT\n\n"]
    for tier, mark in annotation.in_order:
        speaker = html.escape(on_one_line(tier.speaker or ""), quote=False)
        text = f"<v {speaker}>" * bool(speaker) + html.escape(on_one_line(mark.label), quote=False)
        cues.append(f"{_clock(mark.start, '.')} --> {_clock(mark.end, '.')}\n{text}\n\n")
    return "".join(cues)


def _said(tier: Tier, mark: Mark) -> str:
    """A label with its speaker in front, on one line."""
    return on_one_line(mark.label if tier.speaker is None else f"{tier.speaker}: {mark.label}")


def _clock(seconds: float, point: str) -> str:
    """A time as hours, minutes, seconds and ms."""
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


FORMATS = {
    "textgrid": Format(".TextGrid", textgrid),
    "elan": Format(".eaf", elan),
    "audacity": Format(".txt", audacity),
    "rttm": Format(".rttm", rttm, many=True),
    "srt": Format(".srt", srt),
    "vtt": Format(".vtt", vtt),
}
"""Kinds of annotation files by the names that `--export` takes."""
