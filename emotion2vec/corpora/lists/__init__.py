"""One reader per kind of list."""
