"""The page on which people try models: files or a microphone in; labels over time, tables and comparisons out."""
