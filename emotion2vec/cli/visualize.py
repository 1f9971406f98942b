"""The verb `visualize`: features in two dimensions."""

from __future__ import annotations

import typer

from emotion2vec.cli.log import say
from emotion2vec.cli.options import takes
from emotion2vec.cli.shared import CHANGED, allow_fallback, say_faults
from emotion2vec.report.options import PlotOptions


@takes(PlotOptions, {"device": allow_fallback})
def visualize(options: PlotOptions) -> None:
    """Draw features in two dimensions, by emotion, arousal and speaker."""
    from emotion2vec.probe.corpus import clip_summary
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.plots import draw_features

    with leaving_at_once(lambda: "nothing is written"):
        drawn = draw_features(options, progress=True)
    clips = f"{drawn.most} of {len(drawn.clipset.utterances)} clips"
    say(f"{len(options.features)} features of {clips} drawn in {options.output}")
    say_faults(CHANGED, drawn.clipset.changes, shown=10)
    say_faults("clips could not be used", [f"{file}: {reason}" for file, reason in drawn.left_out.items()])
    say(str(clip_summary(drawn.clipset, drawn.left_out)))
    if drawn.left_out:
        raise typer.Exit(1)
