"""The pretraining objective: masks, decoder, teacher, targets and losses."""
