"""Models judged: on any labelled speech, under distortions, and against how much they learnt from."""
