"""GMP-ATL: a seed model of emotion and gender, clusters of its frames, a model retrained on them, and the run's own."""
