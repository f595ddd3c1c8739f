"""The look of the page: one theme, light and dark, with one accent. The rest is in assets/page.css."""

from __future__ import annotations

import gradio as gr

from distill.config.paths import ROOT

CSS = [ROOT / "assets" / f"{name}.css" for name in ("page", "pictures", "insight", "runs", "configure", "compare")]
SCRIPTS = [ROOT / "assets" / name for name in ("pictures.js", "picture-files.js", "page.js")]

_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Quiet greys, the system's own typeface (nothing is fetched), blue for what can be pressed."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_md,
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_md,
        font=_FONT,
        font_mono=_MONO,
    ).set(
        body_background_fill="#fbfbfc",
        body_background_fill_dark="#111418",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_color="#1c2127",
        block_title_text_color_dark="#e8eaed",
        block_title_text_weight="600",
        block_info_text_color="#57606a",
        block_info_text_color_dark="#a3acb6",
        body_text_color="#1c2127",
        body_text_color_dark="#e8eaed",
        body_text_color_subdued="#57606a",
        body_text_color_subdued_dark="#a3acb6",
        panel_border_width="0px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#191e24",
        input_border_color="#8a94a0",
        input_border_color_dark="#66707c",
        input_border_width="1px",
        button_primary_background_fill="#005f9e",
        button_primary_background_fill_hover="#004a7c",
        button_primary_background_fill_dark="#7cc4f5",
        button_primary_background_fill_hover_dark="#a5d6f8",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#0b1a26",
        button_secondary_background_fill="#eceff3",
        button_secondary_background_fill_dark="#262d36",
        button_secondary_text_color="#1c2127",
        button_secondary_text_color_dark="#e8eaed",
        color_accent="#005f9e",
        link_text_color="#005f9e",
        link_text_color_dark="#7cc4f5",
    )


def head() -> str:
    """Our scripts, inline: nothing is fetched from anywhere, and there is no file to serve."""
    return "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in SCRIPTS if path.exists())
