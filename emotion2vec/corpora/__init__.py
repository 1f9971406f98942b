"""What there is to hear: utterances, lists of them, named corpora, folds, conversations, the audit of a split."""
