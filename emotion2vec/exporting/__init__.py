"""Models on their way to other tools: `convert` to formats of weights, `export` as graphs that run without us."""
