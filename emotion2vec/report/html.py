"""A whole HTML page that works offline."""

from __future__ import annotations

from html import escape
from pathlib import Path


def html_page(title: str, body: str) -> str:
    """Put the body of a page, which is HTML, below its title, which is text."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )
