"""ffmpeg as a process: never waited for without end, never left behind, never believed without a look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotion2vec.audio.decode import DAMAGED, LENGTH_DIFFERS, Note, ffmpeg
from emotion2vec.audio.decode.process import Program
from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import AudioError

Transcode = Callable[..., Path]
MP4_HEAD = b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(100)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def shell(script: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script)]


def test_messages_never_block_it() -> None:
    running = Program(shell("import sys; sys.stderr.write('x' * 300 + '\\n' + 'y' * 3_000_000); print('done')"), 20)
    try:
        assert running.read(100) == b"done\n"
        code, messages = running.wait()
        assert code == 0 and messages[0] == "x" * 300 and len("".join(messages)) < 4_000_000
    finally:
        running.close()


def test_one_that_gives_nothing_is_ended() -> None:
    running = Program(shell("import time; print('a', end='', flush=True); time.sleep(600)"), 0.5)
    started = time.monotonic()
    assert running.read(100) == b"a" and running.timed_out
    assert running.wait()[0] != 0 and time.monotonic() - started < 10
    running.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends it with its parent")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    script = f"""
        from emotion2vec.audio.decode.process import Program
        running = Program(["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 600"], 600)
        running.read(1)
    """
    parent = subprocess.Popen(shell(script))
    until = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program in ffmpeg's place, and a file that it is asked to decode."""
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\n" + textwrap.dedent(script))
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda: str(program))
    (tmp_path / "a.m4a").write_bytes(MP4_HEAD)
    return tmp_path / "a.m4a"


WRITE_SOUND = """
import struct, sys
header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32, b"data", 0)
sys.stdout.buffer.write(header + bytes(64000))
sys.stdout.buffer.flush()
"""


def test_an_exit_code_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, WRITE_SOUND + "sys.exit(3)")
    with pytest.raises(AudioError, match="damaged: ffmpeg ended with code 3"):
        load_audio(path)
    assert load_audio(path, accept_damaged=True).size == 16_000


def test_a_crash_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, WRITE_SOUND + "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(AudioError, match="damaged: ffmpeg ended with code -11"):
        load_audio(path)


def test_one_that_hangs_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "PATIENCE", 0.5)
    path = stand_in(tmp_path, monkeypatch, WRITE_SOUND + "import time; time.sleep(600)")
    with pytest.raises(AudioError, match="damaged: ffmpeg gave nothing for"):
        load_audio(path)
    path = stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(AudioError, match="it gave nothing"):
        load_audio(path)


def test_one_that_cannot_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, "")
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda: str(tmp_path / "gone"))
    with pytest.raises(AudioError, match="gone cannot be run: No such file"):
        load_audio(path)


def test_messages_of_other_tracks_are_no_faults_of_the_sound() -> None:
    messages = [
        "[info]   Stream #0:0(und): Video: h264 (High), yuv420p, 64x64",
        "[info]   Stream #0:1(und): Audio: aac (LC), 44100 Hz, mono, fltp",
        "[h264 @ 0x55] [error] non-existing PPS 0 referenced",
        "[warning] deprecated pixel format used",
    ]
    assert ffmpeg.audio_faults(messages) == []
    found = ffmpeg.audio_faults([*messages, "[aac @ 0x55] [error] channel element 0.0 is not allocated"])
    assert found == ["[aac] channel element 0.0 is not allocated"]


LISTS = {
    "ffconcat": b"ffconcat version 1.0\n# \x01\nfile neighbour.wav\n",
    "bytes": b"ffconcat version 1.0\n# caf\xe9\nfile neighbour.wav\n",
    "directives": b"ffconcat version 1.0\n#\x02\nfile neighbour.wav\ninpoint 1\n",
    "hls": b"#EXTM3U\n#\x01\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nneighbour.ts\n#EXT-X-ENDLIST\n",
    "dash": b'<?xml version="1.0"?>\n<!--\x01--><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"/>',
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=\x01\r\nm=audio 5004 RTP/AVP 0\r\n",
}


def test_a_list_never_reads_its_neighbours(sound: np.ndarray, transcode: Transcode, tmp_path: Path) -> None:
    transcode(sound, "neighbour.wav")
    transcode(sound, "neighbour.ts")
    for content in LISTS.values():
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(AudioError, match="cannot be decoded"):
            load_audio(tmp_path / "a.mp4", accept_damaged=True)


def test_a_flood_of_errors_is_a_fault_and_not_a_wait(tmp_path: Path) -> None:
    if ffmpeg.find_ffmpeg() is None:
        pytest.skip("needs ffmpeg, or the package imageio-ffmpeg")
    rng = np.random.default_rng(0)
    frames = (bytes([0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC])
              + rng.bytes(size - 7) for size in rng.integers(100, 400, 4_000))  # fmt: skip
    (tmp_path / "a.aac").write_bytes(b"".join(frames))
    started = time.monotonic()
    with pytest.raises(AudioError, match=r"damaged|cannot be decoded"):
        load_audio(tmp_path / "a.aac")
    assert time.monotonic() - started < 30


def test_half_a_file_says_how_much_there_is(sound: np.ndarray, transcode: Transcode) -> None:
    path = transcode(np.tile(sound, 3), "a.m4a", "-movflags", "+faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"a\.m4a: damaged: .*states 30\.\d+ s, its audio has 1\d\.\d+ s"):
        load_audio(path)
    notes: list[Note] = []
    assert 10 * 16_000 < load_audio(path, accept_damaged=True, notes=notes).size < 20 * 16_000
    assert [note.kind for note in notes] == [DAMAGED]


# Damaged media


def damage(path: Path, kind: str) -> Path:
    content = path.read_bytes()
    place, gap = len(content) // 2, len(content) // 20
    changed = {
        "cut": content[: len(content) * 4 // 10],
        "hole": content[:place] + bytes(gap) + content[place + gap :],
        "gone": content[:place] + content[place + gap :],
    }[kind]
    path.write_bytes(changed)
    return path


@pytest.mark.parametrize("kind", ["cut", "hole", "gone"])
@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.wma", "a.aac", "a.amr", "a.ts", "a.mp4"])
def test_damaged_media_are_faults(sound: np.ndarray, transcode: Transcode, name: str, kind: str) -> None:
    options = {
        "a.m4a": ["-movflags", "+faststart"],
        "a.amr": ["-ar", "8000", "-c:a", "libopencore_amrnb", "-b:a", "12.2k"],
    }
    path = transcode(sound, name, *options.get(name, []))
    assert load_audio(path).size == pytest.approx(sound.size, abs=2_500)
    damage(path, kind)
    with pytest.raises(AudioError, match=r"damaged|moov atom not found"):
        load_audio(path)
    if name != "a.mp4":  # whose table stands at the end
        notes: list[Note] = []
        assert 0.3 * sound.size < load_audio(path, accept_damaged=True, notes=notes).size < 1.1 * sound.size
        assert [note.kind for note in notes] == [DAMAGED]


def test_a_hole_damages_every_stretch(sound: np.ndarray, transcode: Transcode) -> None:
    path = damage(transcode(sound, "a.webm"), "hole")
    with pytest.raises(AudioError, match="damaged"):
        load_audio(path, start=8.0, duration=1.0)


def test_sound_that_is_shorter_than_its_video_is_no_damage(sound: np.ndarray, transcode: Transcode) -> None:
    picture = ["-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=20", "-map", "0:a", "-map", "1:v"]
    path = transcode(sound, "a.mp4", *picture)
    notes: list[Note] = []
    assert load_audio(path, notes=notes).size == pytest.approx(sound.size, abs=2_500)
    assert [note.kind for note in notes] == [LENGTH_DIFFERS]


def test_no_process_is_left(sound: np.ndarray, transcode: Transcode) -> None:
    path = transcode(np.tile(sound, 30), "a.m4a")
    load_audio(path, start=1.0, duration=1.0)
    # Children belong to the thread that started them, which is not this one.
    lists = [path.read_text() for path in Path(f"/proc/{os.getpid()}/task").glob("*/children")]
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in " ".join(lists).split()]
    assert not [name for name in names if "ffmpeg" in name]
