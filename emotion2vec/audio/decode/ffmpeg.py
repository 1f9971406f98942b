"""Audio that ffmpeg decodes, and what it says was wrong with it. S: samples in a block. C: channels."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from emotion2vec.audio.decode.notes import DAMAGED, LENGTH_DIFFERS, Note
from emotion2vec.audio.decode.process import Program
from emotion2vec.errors import AudioError

CONTAINERS = (
    "3dostr,aa,aac,aax,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gsm,gxf,iff,"
    "ircam,live_flv,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nistsphere,nut,nsv,ogg,oma,paf,pva,pvf,"
    "qcp,rm,rso,sds,shn,smjpeg,sox,spdif,svs,swf,tak,truehd,tta,vivo,voc,vqf,w64,wav,wsaud,wtv,wv,wve,xwma"
)
"""What ffmpeg may take a file for: containers that hold their sound themselves. A playlist, whatever it is called,
would have it read the files that it names, and a picture or a game's archive is nothing to listen to."""

PATIENCE = 60.0
"""Longest wait for more sound, in s."""

TOLERANCE_S = 0.25
"""Seconds by which the length of a container may differ from its audio track's: padding, and times in hundredths."""

VIDEO_TOLERANCE_S = 1.0
"""The same where there is video too, which often lasts longer than the sound."""

INSTALL = "install ffmpeg, or pip install imageio-ffmpeg"


def find_ffmpeg() -> str | None:
    """The ffmpeg program: the system's, else the one that the package imageio-ffmpeg carries."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # no package, or none that has the program for this system
        return None


@contextmanager
def open_ffmpeg(program: str, path: str, name: str) -> Iterator[FfmpegStream]:
    """Let ffmpeg decode the first audio track of a file to a wav stream of floats on a pipe.

    Raises:
        AudioError: it finds no audio in it, or cannot be run.
    """
    # Nothing must reach for other files or the network: only this file and the pipe are opened.
    limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS]
    source = ["-nostdin", "-nostats", "-hide_banner", "-v", "level+info", *limits, "-i", f"file:{path}"]
    target = ["-vn", "-sn", "-dn", "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    try:
        running = Program([program, *source, *target], PATIENCE)
    except OSError as error:
        raise AudioError(f"{name}: cannot be decoded: {program} cannot be run: {error.strerror}") from error
    try:
        rate, channels = _wav_header(running)
        if not rate or not channels:
            code, messages = running.wait()
            reason = "it gave nothing for a minute" if running.timed_out else _reason(messages, code)
            raise AudioError(f"{name}: cannot be decoded: ffmpeg says: {reason}")
        yield FfmpegStream(running, rate, channels)
    finally:
        running.close()


def _wav_header(running: Program) -> tuple[int, int]:
    """Read a wav header up to its samples: rate in Hz and channels, or zeros when there is none."""
    rate = channels = 0
    if len(running.read(12)) < 12:
        return 0, 0
    while len(head := running.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data":
            return rate, channels
        body = running.read(size + size % 2)
        if kind == b"fmt " and len(body) >= 8:
            channels, rate = struct.unpack_from("<HI", body, 2)
    return 0, 0


class FfmpegStream:
    """Floats from ffmpeg's pipe; see `AudioStream`."""

    frames: int | None = None

    def __init__(self, running: Program, rate: int, channels: int):
        self.rate, self.channels, self._running = rate, channels, running
        self._count = 0

    def read(self, count: int) -> np.ndarray:
        """The next samples (S, C) float32, at most `count`; none at the end."""
        raw = self._running.read(4 * self.channels * count)
        whole = len(raw) // (4 * self.channels) * self.channels
        block = np.frombuffer(raw, np.float32, count=whole).reshape(-1, self.channels)
        self._count += len(block)
        return block

    def skip(self, count: int) -> int:
        """Go on `count` samples later; how many of them there were."""
        left = count
        while left > 0 and (skipped := len(self.read(min(left, 1 << 16)))):
            left -= skipped
        return count - left

    def beforehand(self) -> list[Note]:
        """Nothing is known before it is decoded."""
        return []

    def finish(self, whole: bool) -> list[Note]:
        """What is to be said of the file. It is decoded to its end for that: a gap moves all that follows it."""
        while len(self.read(1 << 16)):
            pass
        code, messages = self._running.wait()
        there = self._count / self.rate
        if self._running.timed_out:
            return [Note(DAMAGED, f"ffmpeg gave nothing for {PATIENCE:g} s, after {there:.2f} s of sound")]
        if code != 0:
            return [Note(DAMAGED, f"ffmpeg ended with code {code}, after {there:.2f} s: {_reason(messages, code)}")]
        stated, has_video = stated_seconds(messages), any(_is_stream(line, "Video") for line in messages)
        lengths = f"its audio has {there:.2f} s"
        if stated is not None:
            lengths = f"it states {stated:.2f} s, {lengths}"
        if faults := audio_faults(messages):
            return [Note(DAMAGED, f"{lengths}; ffmpeg says, {len(faults)} times in all: {faults[0]}")]
        if stated is None or abs(stated - there) <= (VIDEO_TOLERANCE_S if has_video else TOLERANCE_S):
            return []
        return [Note(DAMAGED if there < stated and not has_video else LENGTH_DIFFERS, lengths)]


def audio_faults(messages: list[str]) -> list[str]:
    """Messages that say that sound is missing or broken, without those of decoders of other tracks."""
    others = {
        found[1] for line in messages if (found := re.search(r"Stream #\S+.*: (?:Video|Subtitle|Data): (\w+)", line))
    }
    return [
        _plain(line)
        for line in messages
        if ("[error]" in line or "[fatal]" in line or ("[warning]" in line and "orrupt" in line))
        and (line.partition(" ")[0].lstrip("[") not in others)
    ]


def stated_seconds(messages: list[str]) -> float | None:
    """Length that the container states, in s; None if it states none, so that ffmpeg guesses."""
    if any("Estimating duration from bitrate" in line for line in messages):
        return None
    found = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+), start: (-?[\d.]+)", "\n".join(messages))
    if found is None:
        return None
    hours, minutes, seconds = (float(found[place]) for place in (1, 2, 3))
    return 3600 * hours + 60 * minutes + seconds


def _is_stream(line: str, kind: str) -> bool:
    return "Stream #" in line and f": {kind}: " in line and "attached pic" not in line


def _plain(line: str) -> str:
    """A message without addresses and levels."""
    return re.sub(r" @ 0x[0-9a-f]+|\[(?:error|fatal|warning|info)\] ", "", line).rstrip(". ")


def _reason(messages: list[str], code: int) -> str:
    """The last error among messages, or what there is."""
    errors = [_plain(line) for line in messages if "[error]" in line or "[fatal]" in line]
    if refused := [found[1] for line in errors if (found := re.match(r"\[(.+)\] Format not on whitelist", line))]:
        return f"it is {refused[0]}, which is no audio or video, or only names other files"
    return errors[0] if errors else f"nothing, and ends with code {code}"
