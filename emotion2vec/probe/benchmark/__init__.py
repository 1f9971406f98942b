"""Corpora × features × heads: `plan` says which, `run` does them."""
