"""What is to be predicted, and how it is judged: targets, losses, metrics, intervals and significance."""
