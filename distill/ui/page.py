"""The page: title and status line above five tabs. It builds; what each part shows is its own module's."""

from __future__ import annotations

import gradio as gr

from distill.hub import oauth
from distill.hub.host import off
from distill.models.hardware import cores_text, cpu_cores, is_zerogpu, memory_gb
from distill.models.machine import Machine
from distill.ui import api, status
from distill.ui.compare import tab as compare
from distill.ui.configure import tab as configure
from distill.ui.html import words
from distill.ui.insight import tab as insight
from distill.ui.runs import tab as runs_tab
from distill.ui.session import TABS, PageSession
from distill.ui.train import tab as train

BUILDERS = (configure.build, train.build, insight.build, compare.build, runs_tab.build)  # in the order of TABS
_CACHE = (3600, 86_400)  # seconds: how often gradio's copies of files are looked at, and how old they get


def build(public: bool = False) -> gr.Blocks:
    """The page, not launched. `public`: it is reached from other machines, so strangers may look but not touch."""
    tabs: dict[str, gr.Tab] = {}
    with gr.Blocks(
        title="Distill: many teachers, one small student", analytics_enabled=False, delete_cache=_CACHE
    ) as page:
        session = PageSession(public)
        status.build(session, header())
        if not oauth.why_not():  # only a Space that was set up for it has sign-in
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
    """What is off on this host and why, folded: a duplicated Space has no secrets, no bucket and maybe no sign-in."""
    said = off(Machine.here())
    if not said:
        return ""
    items = "".join(f"<li>{words(one)}</li>" for one in said)
    return f'<details class="off"><summary>What is off here, and why</summary><ul>{items}</ul></details>'
