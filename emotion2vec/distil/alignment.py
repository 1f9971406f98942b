"""Which frame of the teacher lies beside which of the student.

Both have a frame every so many samples, but the middle of what the first one sees may lie elsewhere: that of a CNN on
25 ms of samples is 12.5 ms after the start, that of mel frames is the start itself. Frames are paired by the nearest
middles, at most half a stride apart, and what has no partner at the ends is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from emotion2vec.audio.frames import FrameGrid


@dataclass(frozen=True)
class Alignment:
    """Frames that student and teacher have in common, counted from the start of a crop.

    Attributes:
        student: the student's first.
        teacher: the teacher's first.
        count: how many there are.
    """

    student: int
    teacher: int
    count: int

    @property
    def of_student(self) -> slice:
        """The student's frames."""
        return slice(self.student, self.student + self.count)

    @property
    def of_teacher(self) -> slice:
        """The teacher's frames."""
        return slice(self.teacher, self.teacher + self.count)


def align(student: FrameGrid, teacher: FrameGrid, samples: int) -> Alignment:
    """Pair the frames that two grids of the same stride have over so many samples."""
    shift = round((student.center - teacher.center) / student.stride)
    first = max(0, -shift)
    count = min(student.count(samples) - first, teacher.count(samples) - first - shift)
    return Alignment(first, first + shift, max(0, count))
