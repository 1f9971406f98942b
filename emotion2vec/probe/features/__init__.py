"""What is probed: the features of clips, whatever they are made of.

`names` says what a feature's name means and opens it: spectra and other functions of the waveform (`waveforms`),
networks (`models`, those of others in `baselines`), text encoders (`text`), features on disk (`stored`), or several of
these (`combined`). `table` runs an extractor over the clips of a corpus, and `cache` keeps what it gave.
"""
