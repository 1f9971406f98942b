"""What is said as a sequence of symbols: phonemes by gruut, phonemes that are given, or characters.

gruut (MIT, extra `phonemes`) looks words up in a lexicon and spells those that it lacks by rules that it has learnt,
offline. Stress is dropped, so that symbols are few.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from emotion2vec.errors import ConfigError

UNITS = ("phonemes", "characters", "given")
SETS = ("all", "vowels")

VOWELS = frozenset("aeiouyøœɐɑɒæɔəɘɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻ")
"""Letters that symbols of vowels begin with, diphthongs and marks of length and nasality aside."""

STRESS = re.compile("[ˈˌ'’]|(?<=[A-Z])[0-2]$")
"""Marks of stress, of IPA and of ARPAbet."""

ASIDE = re.compile(r"\[[^\]]*\]|<[^>]*>")
"""What transcripts say of other sounds, such as [LAUGHTER]."""

ALIKE = str.maketrans({"’": "'", "\u02bc": "'"} | dict.fromkeys("ºª\u00ad\u034f\u200e\u200f\u2060\ufeff"))
"""Letters for apostrophes, and marks that say nothing: of ordinals, of places to part words, of directions."""

UNHEARD = re.compile("[\u200c\u200d\ufe00-\ufe0f]")
"""How letters are joined, and which picture stands for them."""

SCRIPTS = {"ar": "ARABIC", "fa": "ARABIC", "ru": "CYRILLIC", "zh": "CJK"}
"""First word of the names of a language's letters, where they are not LATIN."""


class UnspokenError(ValueError):
    """A text that gives no symbols; the message says why."""


@dataclass(frozen=True)
class Pronunciation:
    """How a text becomes symbols.

    Attributes:
        units: `phonemes` by gruut; `given`, phonemes that a text has with spaces between them; or `characters`.
        kept: `all` of the symbols, or only `vowels`.
        language: of texts of which nothing else is known.
    """

    units: str = "phonemes"
    kept: str = "all"
    language: str = "en"

    def __call__(self, text: str | None, language: str | None = None) -> tuple[str, ...]:
        """The symbols of a text.

        Args:
            text: what is said, in words, or phonemes.
            language: a code such as `de` or `de-DE`, or a name in English; None where it is not known.

        Raises:
            UnspokenError: it gives none.
            ConfigError: gruut is not installed.
        """
        text = unicodedata.normalize("NFC", text or "")
        if self.units == "phonemes":
            said = _phonemes(text, language or self.language)
        elif self.units == "given":
            said = tuple(text.split())
        else:
            said = _characters(text)
        if self.units != "characters":
            said = tuple(filter(None, (STRESS.sub("", symbol) for symbol in said)))
        if not said:
            raise UnspokenError("the text is empty")
        kept = said if self.kept == "all" else tuple(symbol for symbol in said if is_vowel(symbol))
        if not kept:
            raise UnspokenError("the text has no vowel")
        return kept


def is_vowel(symbol: str) -> bool:
    """Whether a symbol of IPA or ARPAbet, or a character, is of a vowel."""
    first = unicodedata.normalize("NFD", symbol)[0]
    return first in "AEIOU" if first.isupper() else first in VOWELS


def _characters(text: str) -> tuple[str, ...]:
    """Letters, figures and apostrophes of a text, with the marks on them, and a space between words."""
    said, kept = UNHEARD.sub("", ASIDE.sub(" ", text).translate(ALIKE)), [" "]
    for char in unicodedata.normalize("NFC", said.lower()):
        marks = unicodedata.category(char) in ("Mn", "Mc") and kept[-1] != " "
        kept.append(char if char.isalnum() or char in "_'" or marks else " ")
    return tuple(" ".join("".join(kept).split()))


@cache
def _phonemes(text: str, language: str) -> tuple[str, ...]:
    """Phonemes of a text, in IPA."""
    code = _code(language)
    said = ASIDE.sub(" ", text).translate(ALIKE)
    script = SCRIPTS.get(code, "LATIN")
    letters = (char for char in said if char.isalpha())
    if strange := sorted({char for char in letters if not unicodedata.name(char, "").startswith(script)}):
        raise UnspokenError(f"the text has {''.join(strange[:8])}, which gruut does not know in {code}")
    from gruut import sentences

    words = [word for sentence in sentences(said, lang=code) for word in sentence if word.is_spoken]
    if mute := [word.text for word in words if not word.phonemes]:
        raise UnspokenError(f"gruut does not know how to say {mute[0]!r} in {code}")
    return tuple(phoneme for word in words for phoneme in word.phonemes)


@cache
def _code(language: str) -> str:
    """The code that gruut has for a language.

    Raises:
        UnspokenError: it has none, or its words are not installed.
        ConfigError: gruut is not installed.
    """
    known = spoken_languages()
    wanted = language.strip().lower().replace("_", "-")
    code = known.get(wanted.partition("-")[0]) or known.get(wanted)
    if code is None:
        every = ", ".join(sorted(set(known.values())))
        raise UnspokenError(f"gruut has no language {language!r}, expected one of {every}")
    if find_spec(f"gruut_lang_{code}") is None:
        raise UnspokenError(f"the words of {code} are not installed: pip install gruut-lang-{code}")
    return code


@cache
def spoken_languages() -> dict[str, str]:
    """Codes of the languages that gruut knows, by themselves and by their names in English.

    Raises:
        ConfigError: gruut is not installed.
    """
    try:
        from babel import Locale
        from gruut import get_supported_languages
    except ModuleNotFoundError as error:
        if error.name not in ("babel", "gruut"):
            raise
        raise ConfigError(
            "phonemes.units is phonemes, which needs the package gruut: pip install 'emotion2vec[phonemes]'; or the "
            "column text has them (phonemes.units=given), or characters stand for them (phonemes.units=characters)"
        ) from error
    codes = sorted({name.partition("-")[0] for name in get_supported_languages()})
    names = Locale("en").languages
    return {code: code for code in codes} | {names[code].lower(): code for code in codes if code in names}
