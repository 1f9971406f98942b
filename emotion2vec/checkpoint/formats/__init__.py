"""Formats of other tools, read and written without their packages."""
