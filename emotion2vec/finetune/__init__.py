"""Fine-tuning: from labelled speech to a model that predicts."""
