"""Rounds of fine-tuning, labelling, filtering and fine-tuning again: how emotion2vec+ was made of emotion2vec.

`config` says what decides them, `run` does them: `people` divides the human-labelled clips, `pool` lists the unlabeled
ones, `labels` has a model say what they are, `filters` chooses among them, `judging` compares a round with the last
accepted one, and `tables` are what each round leaves.
"""
