"""The pictures of the page, as pure functions: numbers in, HTML with an SVG out. Each lives in a file of its own."""

from __future__ import annotations

from distill.ui.charts.bars import paired_bars
from distill.ui.charts.heatmap import heatmap, heatmap_pair
from distill.ui.charts.lines import Series, line_chart, thin

__all__ = ["Series", "heatmap", "heatmap_pair", "line_chart", "paired_bars", "thin"]
