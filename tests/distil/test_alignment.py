"""Frames of student and teacher are paired by where they lie in time."""

from __future__ import annotations

import pytest
import torch

from emotion2vec.audio.frames import WAVEFORM_GRID, FrameGrid
from emotion2vec.distil.alignment import align
from emotion2vec.model.frontend import Frontend
from emotion2vec.model.logmel import MelFrontend

MEL = FrameGrid.of_mel([3, 3], [1, 2])


def test_centers_are_the_middle_of_what_frames_see() -> None:
    """Measured by gradients: of a CNN on samples exactly, of mel frames as the mean place, weighed."""
    torch.manual_seed(0)
    x = torch.randn(1, 3_200, requires_grad=True)
    Frontend(4, 8, [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])(x)[0, 3].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].nonzero().flatten()
    assert WAVEFORM_GRID.center + 3 * 320 == pytest.approx((int(seen[0]) + int(seen[-1])) / 2)

    x = torch.randn(1, 6_400, requires_grad=True)
    mel = MelFrontend(20, 4, 8, [3, 3], [1, 2])
    mel.layers.requires_grad_(False)
    power = torch.zeros(6_400)
    for _ in range(40):  # of random weights, so that the mean is over directions
        for layer in mel.layers:
            torch.nn.init.normal_(layer.weight)
        x.grad = None
        mel(x)[0, 10].sum().backward()
        power += x.grad[0].square()
    middle = float((power * torch.arange(6_400)).sum() / power.sum())
    assert MEL.center + 10 * 320 == pytest.approx(middle, abs=40)


@pytest.mark.parametrize("samples", [8_000, 16_000, 16_159, 16_321, 31_999, 320_000])
@pytest.mark.parametrize("student", [MEL, WAVEFORM_GRID])
@pytest.mark.parametrize("teacher", [MEL, WAVEFORM_GRID])
def test_partners_are_at_most_half_a_stride_apart_and_all_there(
    samples: int, student: FrameGrid, teacher: FrameGrid
) -> None:
    found = align(student, teacher, samples)
    ours, theirs = (grid.center + 320 * first for grid, first in ((student, found.student), (teacher, found.teacher)))
    assert abs(ours - theirs) <= 160
    assert found.of_student.stop <= student.count(samples) and found.of_teacher.stop <= teacher.count(samples)
    assert found.count >= min(student.count(samples), teacher.count(samples)) - 1
    if student == teacher:
        assert found == align(teacher, student, samples) and found.count == student.count(samples)


def test_a_frame_of_the_waveform_lies_beside_the_mel_frame_that_is_nearest() -> None:
    """Its middle is 12.5 ms after the start, nearer to the mel frame at 20 ms than to that at 0."""
    assert (WAVEFORM_GRID.center, MEL.center) == (199.5, -0.5)
    assert (align(WAVEFORM_GRID, MEL, 16_000).student, align(WAVEFORM_GRID, MEL, 16_000).teacher) == (0, 1)
    assert (align(MEL, WAVEFORM_GRID, 16_000).student, align(MEL, WAVEFORM_GRID, 16_000).teacher) == (1, 0)
