"""Lists of audio of every kind, read once and for everybody.

`manifests` tells kinds apart. Each kind has a module that turns lines into rows: `tables`, `jsonlines` (with `lhotse`),
`kaldi`, `fairseq`; `folders` are lists too. `rows` finds the audio of rows (`locate`) and `naming` gives ids. `tables`
reads labelled corpora too, more strictly. `segments` and `speech` cut recordings. `lines` reads text.
"""
