"""Under which conditions test clips are scored again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from emotion2vec.data.codecs import CODECS, lacking
from emotion2vec.settings import option

KINDS = ("snr", "reverb", "codec", "clipping", "gain", "adversarial")
COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Synthetic noise, and the exponent by which its power falls with frequency."""


@dataclass(kw_only=True)
class RobustnessSettings:
    """Conditions under which test clips are scored again, each with what is drawn by seed and clip alone."""

    robustness: list[str] = option([], f"score test clips again under: {', '.join(KINDS)}; empty for none")
    snr: list[float] = option([20.0, 10.0, 5.0, 0.0], "ratios of speech to noise, in dB", ge=-50, le=100)
    noise: list[str] = option([], "noise to add: folders or manifests; empty for synthetic noise")
    colours: list[str] = option(["pink"], f"synthetic noise: {', '.join(COLOURS)}")
    reverb_seconds: list[float] = option(
        [0.3, 0.6, 1.0], "reverberation times (T60) of synthetic rooms, in s", ge=0.05, le=10
    )
    rooms: list[str] = option([], "measured impulse responses, in place of synthetic rooms: folders or manifests")
    codecs: list[str] = option(list(CODECS), f"codecs: {', '.join(CODECS)}")
    codec_level: float = option(0.9, "compression of mp3, opus and vorbis, 0 being the least", ge=0, le=0.99)
    clipping: list[float] = option([6.0, 12.0, 20.0], "clipping levels below the peak, in dB", ge=0, le=60)
    gain: list[float] = option([-30.0, -15.0, 15.0], "gains, in dB", ge=-90, le=60)
    epsilon: list[float] = option(
        [0.001, 0.003, 0.01],
        "bounds of adversarial changes of a sample, as shares of the root mean square of the clip",
        gt=0,
        le=1,
    )
    attack_steps: int = option(1, "steps of an attack: 1 for FGSM, more for PGD", ge=1, le=200)


def conditions_asked(settings: RobustnessSettings) -> dict[str, Any]:
    """What decides the conditions; empty where none are asked for."""
    return (
        {item.name: getattr(settings, item.name) for item in fields(RobustnessSettings)} if settings.robustness else {}
    )


def check_robustness(settings: RobustnessSettings, prefix: str = "") -> list[str]:
    """List what is wrong with the conditions.

    Args:
        settings: the conditions.
        prefix: what stands before their names, such as `evaluate.`.
    """
    faults = []
    for name, known in (("robustness", KINDS), ("colours", tuple(COLOURS)), ("codecs", CODECS)):
        found = getattr(settings, name)
        if wrong := [one for one in found if one not in known]:
            faults.append(f"{prefix}{name} has {', '.join(wrong)}, expected some of {', '.join(known)}")
        if len(set(found)) < len(found):
            faults.append(f"{prefix}{name} is {', '.join(found)}, expected each once")
    used = {"snr": "snr", "clipping": "clipping", "gain": "gain", "adversarial": "epsilon", "codec": "codecs"}
    used |= {} if settings.noise else {"snr": "colours"} if settings.snr else {}
    used |= {} if settings.rooms else {"reverb": "reverb_seconds"}
    for kind in settings.robustness:
        if kind in used and not getattr(settings, used[kind]):
            faults.append(f"{prefix}robustness has {kind} and {prefix}{used[kind]} is empty, expected at least one")
    if "codec" in settings.robustness and not faults:
        faults += [
            f"{prefix}codecs has {codec}, which the libsndfile of this machine cannot encode, expected others"
            for codec in settings.codecs
            if lacking(codec)
        ]
    return faults
