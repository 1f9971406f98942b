"""The network: front end, positions, Transformer and encoder."""
