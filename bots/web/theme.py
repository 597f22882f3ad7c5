"""How the page looks: calm, in light and in dark, with the fonts of whoever looks at it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]

_PINE = gr.themes.Color(
    c50="#f1f8f6",
    c100="#dceeea",
    c200="#b9ddd5",
    c300="#8cc5ba",
    c400="#5aa699",
    c500="#388a7e",
    c600="#24706a",
    c700="#1d5a56",
    c800="#1a4846",
    c900="#183c3b",
    c950="#0b2322",
    name="pine",
)
_STONE = gr.themes.Color(
    c50="#fafaf8",
    c100="#f3f3f0",
    c200="#e6e6e1",
    c300="#d2d2cb",
    c400="#a2a29b",
    c500="#6b6b66",
    c600="#545450",
    c700="#40403d",
    c800="#2a2a29",
    c900="#1e1e1e",
    c950="#151515",
    name="stone",
)
CSS = Path(__file__).with_name("page.css")


def theme() -> gr.themes.Base:
    """Pine on stone."""
    return gr.themes.Base(primary_hue=_PINE, secondary_hue=_PINE, neutral_hue=_STONE, font=FONT, font_mono=MONO).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        color_accent_soft="*primary_100",
        color_accent_soft_dark="*primary_900",
        border_color_accent_subdued="*primary_200",
        border_color_accent_subdued_dark="*primary_800",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        block_radius="10px",
        button_large_radius="8px",
        input_radius="8px",
        shadow_drop="none",
    )
