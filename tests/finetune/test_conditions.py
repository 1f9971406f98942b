"""Conditions against what can be measured back from the distorted signal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from emotion2vec.data.codecs import TELEPHONE_BAND
from emotion2vec.data.distortions import coloured_noise
from emotion2vec.finetune.evaluation.conditions import Attack, Condition, conditions_of
from emotion2vec.finetune.evaluation.plan import load_plan
from emotion2vec.finetune.evaluation.settings import KINDS, RobustnessSettings, check_robustness

RATE = 16_000


def voice(seconds: float = 2.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 180 * k * time) / k for k in range(1, 20))
    return (0.1 * tone * (1 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def made(**settings: object) -> list[Condition | Attack]:
    return conditions_of(replace(RobustnessSettings(), **settings), workers=0)  # type: ignore[arg-type]


def sounds(settings: list[Condition | Attack], name: str = "clip", seed: int = 0) -> list[np.ndarray]:
    return [one.distorted(voice(), name, seed) for one in settings if isinstance(one, Condition)]


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_noise_has_its_ratio_and_is_the_same_at_all_levels(colour: str) -> None:
    levels = [20.0, 0.0, -5.0]
    found = sounds(made(robustness=["snr"], snr=levels, colours=[colour]))
    clean, noises = voice().astype(np.float64), []
    for snr, mixed in zip(levels, found, strict=True):
        noise = mixed.astype(np.float64) - clean
        assert 10 * np.log10(np.sum(clean**2) / np.sum(noise**2)) == pytest.approx(snr, abs=0.01)
        noises.append(noise / np.sqrt(np.mean(noise**2)))
    assert np.abs(noises[0] - noises[2]).max() < 1e-3
    other = sounds(made(robustness=["snr"], snr=[0.0], colours=[colour]), name="other")[0]
    seeded = sounds(made(robustness=["snr"], snr=[0.0], colours=[colour]), seed=1)[0]
    again = sounds(made(robustness=["snr"], snr=[0.0], colours=[colour]))[0]
    assert np.array_equal(again, found[1])
    assert np.abs(other - found[1]).max() > 0.01 and np.abs(seeded - found[1]).max() > 0.01


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_by_its_exponent(exponent: float) -> None:
    noise = coloured_noise(60 * RATE, exponent, np.random.default_rng(0))
    hertz, power = welch(noise, RATE, nperseg=4096)
    kept = (hertz > 60) & (hertz < 7_000)
    slope = np.polyfit(np.log(hertz[kept]), np.log(power[kept]), 1)[0]
    assert -slope == pytest.approx(exponent, abs=0.05)
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(1, rel=1e-4)


def test_recorded_noise_and_rooms_are_taken(tmp_path: Path) -> None:
    hum = 0.2 * np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)
    (tmp_path / "noise").mkdir()
    (tmp_path / "rooms").mkdir()
    soundfile.write(tmp_path / "noise" / "hum.wav", hum, RATE)
    response = np.zeros(4_000)
    response[[0, 800]] = 1.0, 0.5  # an echo 50 ms later
    soundfile.write(tmp_path / "rooms" / "echo.wav", response, RATE, subtype="FLOAT")
    (mixed,) = sounds(made(robustness=["snr"], snr=[3.0], noise=[str(tmp_path / "noise")]))
    spectrum = np.abs(np.fft.rfft(mixed.astype(np.float64) - voice()))
    assert np.argmax(spectrum) * RATE / voice().size == pytest.approx(1_000, abs=1)
    (echoed,) = sounds(made(robustness=["reverb"], rooms=[str(tmp_path / "rooms")]))
    expected = voice().astype(np.float64)
    expected[800:] += 0.5 * voice()[:-800]
    assert np.corrcoef(echoed, expected)[0, 1] > 0.9999


def test_rooms_decay_by_60_db_in_their_time() -> None:
    for seconds, (condition,) in ((t, made(robustness=["reverb"], reverb_seconds=[t])) for t in (0.3, 0.9)):
        assert isinstance(condition, Condition)
        impulse = np.zeros(RATE, np.float32)
        impulse[0] = 1.0
        found = condition.distorted(impulse, "clip", 0).astype(np.float64)
        assert found.size == RATE
        energy = np.cumsum(found[:0:-1] ** 2)[::-1]  # Schroeder's backward integration, behind the direct sound
        decay = 10 * np.log10(energy / energy[0])
        first, last = (int(np.argmax(decay < level)) for level in (-5, -25))
        assert 3 * (last - first) / RATE == pytest.approx(seconds, rel=0.12)


def test_levels_of_clipping_and_gain_and_the_band_of_telephones() -> None:
    clipped, louder, phone = sounds(
        made(robustness=["codec", "clipping", "gain"], clipping=[6.0], gain=[-20.0], codecs=["telephone"])
    )[1:] + sounds(made(robustness=["codec"], codecs=["telephone"]))
    assert np.abs(clipped).max() == pytest.approx(np.abs(voice()).max() * 10 ** (-6 / 20))
    assert np.allclose(louder, 0.1 * voice(), atol=1e-6)
    spectrum = np.abs(np.fft.rfft(phone)) ** 2
    hertz = np.fft.rfftfreq(phone.size, 1 / RATE)
    inside = (hertz > TELEPHONE_BAND[0] * 0.7) & (hertz < TELEPHONE_BAND[1] * 1.1)
    assert spectrum[inside].sum() > 0.98 * spectrum.sum()


def test_attacks_are_named_by_their_steps() -> None:
    assert [(one.kind, one.level) for one in made(robustness=["adversarial"], epsilon=[0.01])] == [("FGSM", "ε 0.01")]
    (attack,) = made(robustness=["adversarial"], epsilon=[0.01], attack_steps=10)
    assert isinstance(attack, Attack) and (attack.kind, attack.steps) == ("PGD, 10 steps", 10)


def test_wrong_conditions_are_named_at_once() -> None:
    wrong = replace(RobustnessSettings(), robustness=["noise", "snr"], colours=["red"], snr=[], codecs=["g729"])
    faults = "; ".join(check_robustness(wrong, "evaluate."))
    for text in ("evaluate.robustness has noise", "colours has red", "codecs has g729", "evaluate.snr is empty"):
        assert text in faults
    assert not check_robustness(replace(RobustnessSettings(), robustness=list(KINDS)))
    with pytest.raises(Exception, match=r"data.table and data.corpora are empty[\s\S]*robustness has x"):
        load_plan(["robustness=[x]"])
