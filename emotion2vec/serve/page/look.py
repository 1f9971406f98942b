"""How Gradio's own parts of the page look: the fonts of the system, and the colours of our reports."""

from __future__ import annotations

import gradio as gr

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "monospace")

BLUE = gr.themes.Color(
    c50="#eef3fb",
    c100="#dbe6f6",
    c200="#bacfee",
    c300="#86aef2",
    c400="#5f8fe0",
    c500="#2f5fb3",
    c600="#2a549e",
    c700="#244884",
    c800="#1d3a6a",
    c900="#172e54",
    c950="#101f39",
    name="blue",
)

THEME = gr.themes.Base(primary_hue=BLUE, neutral_hue="slate", radius_size="md", font=FONTS, font_mono=MONO).set(
    body_background_fill="#ffffff",
    body_background_fill_dark="#12161c",
    body_text_color="#1c2430",
    body_text_color_dark="#e6eaf0",
    background_fill_primary_dark="#12161c",
    background_fill_secondary_dark="#1a2028",
    body_text_color_subdued="#566270",
    body_text_color_subdued_dark="#a3afbd",
    block_info_text_color="#566270",
    block_info_text_color_dark="#a3afbd",
    block_background_fill="#f6f8fa",
    block_background_fill_dark="#1a2028",
    block_border_color="#dfe4ea",
    block_border_color_dark="#303945",
    block_label_text_color="#4d5865",
    block_label_text_color_dark="#b4bfcc",
    input_background_fill="#ffffff",
    input_background_fill_dark="#12161c",
)
"""Its colours are those of report/style.css."""
