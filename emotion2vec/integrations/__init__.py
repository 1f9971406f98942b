"""Our models inside other tools; each subpackage needs the tool that it is named after, and nothing here imports it."""
