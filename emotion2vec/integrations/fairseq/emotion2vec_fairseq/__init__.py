"""fairseq's `user_dir`: registers the model `emotion2vec` and the task `emotion2vec_pretraining`."""

from emotion2vec.integrations.fairseq.emotion2vec_fairseq import model, task

__all__ = ["model", "task"]
