"""What there is to hear, and what is known of it.

`utterance` has the types; `lists` reads every kind of list and folder, `named` the corpora that we know by name, and
`options` says which of them a verb takes. `joining` makes one corpus of several, `folds` and `validation` split one,
`conversations` finds its turns, and `audit` examines a split. `names`, `labels`, `faults`, `summary` and `contents` are
what these share.
"""
