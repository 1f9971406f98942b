"""Text as symbols: phonemes by gruut, given ones and characters; vowels; what cannot be said."""

from __future__ import annotations

import builtins
import unicodedata
from typing import Any

import pytest

from emotion2vec.errors import ConfigError
from emotion2vec.tasks import pronunciation
from emotion2vec.tasks.pronunciation import Pronunciation, UnspokenError, is_vowel, spoken_languages


def test_words_become_phonemes_without_stress() -> None:
    said = Pronunciation()("[LAUGHTER] The fridge.")
    assert said == ("ð", "ə", "f", "ɹ", "ɪ", "d͡ʒ")  # as a dictionary of English has them
    german = Pronunciation(language="de")("Das will sie.")
    assert german == ("d", "a", "s", "v", "ɪ", "l", "z", "iː")
    assert Pronunciation()("Das will sie.", "German") == Pronunciation()("Das will sie.", "de-AT") == german


def test_vowels_alone_are_kept() -> None:
    assert Pronunciation(kept="vowels")("The fridge") == ("ə", "ɪ")
    assert Pronunciation("given", "vowels")("Y EH1 S B OY2 aɪ j ˈœ̃") == ("EH", "OY", "aɪ", "œ̃")
    assert Pronunciation("characters", "vowels")("Heiß, Ürdä") == ("e", "i", "ü", "ä")


def test_every_phoneme_of_arpabet_is_a_vowel_or_not() -> None:
    vowels = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
    others = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
    assert all(map(is_vowel, vowels.split())) and not any(map(is_vowel, others.split()))


def test_given_phonemes_and_characters() -> None:
    assert Pronunciation("given")("AH0 ˈb  a") == ("AH", "b", "a")
    assert "".join(Pronunciation("characters")("Don't <sigh> GO, 3!")) == "don't go 3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mu\u0308ller, ER\u2019S", "müller er's"),  # decomposed, as file systems and some editors write
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),  # signs of vowels are marks
        ("ไม่ใช่!", "ไม่ใช่"),  # so are tones
        ("I\u2764\ufe0f it", "i it"),  # the mark on a picture is none on a letter
        ("क्\u200dष", "क्ष"),  # how letters are joined is not heard
        ("co\u00adop 1\u00ba", "coop 1"),
    ],
)
def test_marks_stay_on_their_letters(text: str, expected: str) -> None:
    assert "".join(Pronunciation("characters")(text)) == expected


def test_one_word_has_one_pronunciation_however_it_is_encoded() -> None:
    assert Pronunciation()(unicodedata.normalize("NFD", "Müller"), "de") == Pronunciation()("Müller", "de")
    assert Pronunciation()("don\u02bct") == Pronunciation()("don't")
    assert Pronunciation()("20 \u00baC") == Pronunciation()("20 C")
    assert Pronunciation("given")("c\u0327 t\u02bc") == ("ç", "t\u02bc")  # which is an ejective here


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", None, "the text is empty"),
        (None, None, "the text is empty"),
        ("[BREATHING] ...", None, "the text is empty"),
        ("日本語 hello", None, "the text has 日本語, which gruut does not know in en"),
        ("привет", "de", "the text has веипрт, which gruut does not know in de"),
        ("hej", "da", "gruut has no language 'da', expected one of ar, ca, cs, de, en"),
        ("bonjour", "French", "the words of fr are not installed: pip install gruut-lang-fr"),
    ],
)
def test_what_cannot_be_said_says_why(text: str | None, language: str | None, reason: str) -> None:
    with pytest.raises(UnspokenError, match=reason.replace(".", r"\.").replace("(", r"\(")):
        Pronunciation()(text, language)


def test_a_text_without_vowels_has_none() -> None:
    with pytest.raises(UnspokenError, match="the text has no vowel"):
        Pronunciation("characters", "vowels")("pst")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *args: Any, **others: Any) -> Any:
        if name == "gruut":
            raise ModuleNotFoundError("No module named 'gruut'", name="gruut")
        return usual(name, *args, **others)

    for cached in (spoken_languages, pronunciation._code, pronunciation._phonemes):
        cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"needs the package gruut: pip install 'emotion2vec\[phonemes\]'"):
        Pronunciation()("hello")
    assert Pronunciation("characters")("hey") == ("h", "e", "y")
