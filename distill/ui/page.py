"""The page: its look, the title and status line, and five tabs below. Each tab is built by its own module."""

from __future__ import annotations

import gradio as gr

from distill.config.paths import ROOT
from distill.hub import host
from distill.hub.host import off
from distill.models.hardware import Machine, cores_text, cpu_cores, is_zerogpu, memory_gb
from distill.runs import queue
from distill.runs.views import RunView
from distill.ui import actions, api
from distill.ui.auth import Visitor
from distill.ui.compare import tab as compare
from distill.ui.configure import tab as configure
from distill.ui.html import NO_RUN, progress, words
from distill.ui.insight import tab as insight
from distill.ui.runs import tab as runs
from distill.ui.session import TABS, PageSession, going, require_run
from distill.ui.train import tab as train

BUILDERS = (configure.build, train.build, insight.build, compare.build, runs.build)  # in the order of TABS
_CACHE = (3600, 86_400)  # seconds: how often gradio's copies of files are looked at, and how old they get
PUBLIC_CACHE = (60, 600)  # the same where strangers send them: a file is stored or downloaded within a minute

CSS = [ROOT / "assets" / f"{name}.css" for name in ("page", "pictures", "insight", "runs", "configure", "compare")]
SCRIPTS = [ROOT / "assets" / name for name in ("pictures.js", "picture-files.js", "page.js")]

_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def build(public: bool = False) -> gr.Blocks:
    """The page, not launched. `public`: it can be reached from other machines, so strangers may look but not touch."""
    actions.hide_places(public)
    tabs: dict[str, gr.Tab] = {}
    with gr.Blocks(
        title="Distill: many teachers, one small student",
        analytics_enabled=False,
        delete_cache=PUBLIC_CACHE if public else _CACHE,
    ) as page:
        session = PageSession(public)
        _top(session)
        if not host.why_no_sign_in():  # only a Space that was set up for it has sign-in
            gr.LoginButton(logout_value="Sign out ({})", size="sm", elem_id="sign-in")
        with gr.Tabs(elem_id="tabs", selected="configure") as session.tabs:
            for name, builder in zip(TABS, BUILDERS, strict=True):
                with gr.Tab(name.capitalize(), id=name, elem_id=f"tab-{name}") as tabs[name]:
                    builder(session)
        session.connect(page, tabs)
        api.build(session)
    return page


def header() -> str:
    """Title, what this machine is, and the choice of light or dark."""
    machine = "ZeroGPU" if is_zerogpu() else f"{cores_text(cpu_cores())}, {memory_gb():.0f} GB of memory"
    return (
        "<h1>Distill <small>many teachers, one small student</small></h1>"
        f'<p class="machine">{machine} · <button id="look" type="button">light or dark</button></p>' + _off()
    )


def _off() -> str:
    """What is not available here and why, folded: a duplicated Space has no secrets, no bucket and maybe no sign-in."""
    said = off(Machine.here())
    if not said:
        return ""
    items = "".join(f"<li>{words(actions.published(one))}</li>" for one in said)
    return f'<details class="off"><summary>Not available on this machine</summary><ul>{items}</ul></details>'


# --- the status line -------------------------------------------------------------------------------------------------


def _top(session: PageSession) -> None:
    """The title, the machine, and the line that follows the run."""
    with gr.Row(elem_id="top"):
        gr.HTML(header(), elem_id="title")
    with gr.Row(elem_id="status"):
        line = gr.HTML(bar(None, ""), elem_id="status-line", scale=5, min_width=260)
        stop = gr.Button(
            "Stop and keep the model", elem_id="stop", interactive=False, scale=0, min_width=210, size="sm"
        )
    session.live("status", line, bar, inputs=[session.run_id], key=going)

    def can_stop(run: RunView | None, token: str) -> dict:
        mine = run is not None and not run.final and session.who(token).owns(run.folder)
        return gr.Button(interactive=bool(mine and run.state != "stopping"))

    session.live("can-stop", stop, can_stop, inputs=[session.token])
    session.act(stop.click, stop_run)


def stop_run(who: Visitor, run_id: str) -> str:
    """Ask the run to save and stop. Raises UserError where it isn't the visitor's, or isn't running."""
    return actions.stop(require_run(run_id).id, who)


def bar(run: RunView | None, run_id: str) -> str:
    """The line, as HTML."""
    if run is None:
        missing = f"There is no run {words(run_id)} here: it may have been deleted. " if run_id else ""
        return f'<p class="quiet">{missing}{NO_RUN}</p>'
    share, what = progress(run)
    waiting = queue.waiting(run.folder.parent) if run.state == "queued" else []
    if run.id in waiting:
        place = waiting.index(run.id)
        what += f" · {place} before it in the queue" if place else " · next in the queue"
    ended = run.reason and run.state in ("stopped", "failed", "crashed")
    look = "quiet" if run.state == "stopped" else "reason"
    why = f'<p class="{look}">{words(actions.published(run.reason))}</p>' if ended else ""
    now = going()
    other = f' · <a href="?run={words(now)}">another run is training: watch it</a>' if now not in ("", run.id) else ""
    return (
        f'<p class="line" data-state="{run.state}" data-chosen="{run.id if run_id else ""}">'
        f'<a href="?run={words(run.id)}">run {words(run.id[:6])}</a> · '
        f"<b>{words(run.name)}</b> · <span class='what'>{words(what)}</span>{other}</p>{why}"
        '<div class="meter" role="progressbar" aria-label="progress of this stage" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{100 * share:.0f}"><span style="width:{100 * share:.1f}%"></span></div>'
    )


# --- the look --------------------------------------------------------------------------------------------------------


def theme() -> gr.themes.Base:
    """One theme, light and dark: greys, the system's own typeface (nothing is fetched), blue for what can be pressed.

    The rest of the look is in assets/page.css.
    """
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
