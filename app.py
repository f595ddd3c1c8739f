"""The page: `python app.py`. For now one tab that follows the latest run; it trains nothing itself."""

from __future__ import annotations

import gradio as gr

from distill.ui.latest import latest, numbers, sentence

POLL_SECONDS = 2


def build() -> gr.Blocks:
    """The page, not launched."""

    def tick(mark):
        run = latest()
        now = list(run.mark) if run else None
        if now == mark:
            return gr.skip(), gr.skip(), gr.skip()
        return sentence(run), numbers(run), now

    with gr.Blocks(title="Distill") as page:
        gr.Markdown("# Distill\nmany teachers, one small student")
        with gr.Tab("Latest run"):
            state = gr.Markdown(sentence(latest()))
            table = gr.Code(numbers(latest()), language=None, label="What came of it", interactive=False)
        mark = gr.State(0)
        gr.Timer(POLL_SECONDS).tick(tick, mark, [state, table, mark], queue=False, show_progress="hidden")
        page.load(lambda: tick(0), None, [state, table, mark], show_progress="hidden")
    return page


if __name__ == "__main__":
    build().launch()
