"""Files, bytes and URLs -> blocks of samples, and what is to be said of them."""

from emotion2vec.audio.decode.ffmpeg import find_ffmpeg
from emotion2vec.audio.decode.notes import DAMAGED, LENGTH_DIFFERS, LOUDER_CHANNEL, UNFINISHED, Note
from emotion2vec.audio.decode.opening import AudioStream, Encoded, describe_content, is_audio_file, open_audio
from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES

__all__ = [
    "AUDIO_SUFFIXES",
    "DAMAGED",
    "LENGTH_DIFFERS",
    "LOUDER_CHANNEL",
    "UNFINISHED",
    "AudioStream",
    "Encoded",
    "Note",
    "describe_content",
    "find_ffmpeg",
    "is_audio_file",
    "open_audio",
]
