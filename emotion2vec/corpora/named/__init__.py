"""Corpora by name, and how each tells its labels and speakers.

`registry` has them all. `filenames` are those whose file names say everything; the others have annotation files, whose
readers share `annotations` and have a module each. `emobox` reads those of its benchmark, by its metadata.
"""
