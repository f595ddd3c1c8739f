"""What people came for, in a real browser: Start, live curves, done, the same problem before and after; and what may
happen on the way: a second tab, a refresh, a stop, a kill -9, a restart of the server, a queue, a stranger."""

import os
import re
import signal

from page_cases import open_tab, wait_for

from distill.runs import index, store
from distill.runs.events import Evaluation, EventWriter, Sample, Warning

DONE = 600  # seconds the whole tiny preset may take on two cores that other tests share (330 alone on an AVX2 machine)


def line(page):
    return page.locator("#status-line").inner_text()


def until_line(page, pattern, seconds=60):
    """Wait until the status line says it, without touching the page."""
    return wait_for(lambda: re.search(pattern, line(page)), seconds, f"the status line never said {pattern!r}")


def curve(page, name):
    return page.locator(f"figure.picture[data-name='{name}'] svg path, figure[data-name='{name}'] path")


def test_the_whole_journey_on_the_tiny_preset(visit, server):
    page = visit()
    page.get_by_role("button", name="Start now").click()
    until_line(page, r"run [0-9a-f]{6} · tiny")
    assert page.get_by_role("tab", name="Train", selected=True).is_visible()  # it opens by itself
    until_line(page, r"Teacher \d of 6 \([\w-]+\) is (reading|answering)", 120)
    until_line(page, r"training, step \d+ of 90", DONE)
    other = visit()  # a second visitor, who comes later, watches the same run
    until_line(other, r"training, step \d+")
    page.reload()  # in the middle of it
    page.get_by_role("tab", name="Configure").wait_for()
    until_line(page, r"training, step \d+")
    open_tab(page, "Train")
    wait_for(lambda: "Loss and its parts" in page.locator("#tab-train").inner_text())
    step = int(until_line(page, r"step (\d+) of 90")[1])
    wait_for(lambda: int(until_line(page, r"step (\d+) of 90")[1]) > step, 30, "the step doesn't move")
    until_line(page, r"· done", DONE)
    until_line(other, r"· done")
    run = index.list_runs(server.home / "runs")[0]
    assert run.report["after"]["accuracy"] > run.report["before"]["accuracy"] + 0.3
    open_tab(page, "Insight")
    wait_for(lambda: "gemma2-tiny" in page.locator("#tab-insight").inner_text())
    open_tab(page, "Compare")
    shown = page.locator("#tab-compare")
    fixed = run.report["flips"]["fixed"]
    wait_for(lambda: f"{fixed} fixed" in shown.inner_text(), 20, "the flips are not said")
    page.get_by_role("button", name="Answer with both").click()
    # Now from the model itself: tokens a second stand where "as the run recorded it" stood.
    wait_for(lambda: len(re.findall(r"tokens?, [\d,]+ a second", shown.inner_text())) == 2, 60, "no two answers came")
    wait_for(lambda: "right: 62" in shown.inner_text(), 60, "the student, taught, doesn't say 62")
    assert "wrong: 12, not 62" in shown.inner_text()
    assert len(set(re.findall(r"adapter \w+", shown.inner_text()))) >= 2  # off and on
    open_tab(page, "Runs")
    wait_for(lambda: run.id[:6] in page.locator("#tab-runs").inner_text())


def test_a_stranger_watches_but_can_not_stop_and_the_owner_can(visit, server, status):
    mine, other = visit(), visit()
    mine.get_by_role("button", name="Start now").click()
    until_line(mine, r"preparing|training|student|teacher|waiting", 60)
    run = index.list_runs(server.home / "runs")[0].id
    other.goto(f"{server.url}/?run={run}")
    until_line(other, run[:6])
    wait_for(lambda: mine.locator("#stop").is_enabled(), 20, "the owner can't stop")
    assert other.locator("#stop").is_disabled()
    mine.reload()  # the browser remembers whose it is
    wait_for(lambda: mine.locator("#stop").is_enabled(), 20, "the owner can't stop after a refresh")
    until_line(mine, r"training, step \d+ of 90", DONE)
    mine.locator("#stop").click()
    until_line(mine, r"stopped, its model is kept", 60)
    assert (server.home / "runs" / run / "adapter" / "adapter_model.safetensors").is_file()
    # Resumed by its owner, with fewer steps left to go.
    goal = status(run)["step"] + 4
    open_tab(mine, "Train")
    mine.get_by_label("Steps in all").fill(str(goal))
    wait_for(lambda: mine.locator("#resume").is_enabled(), 20)
    mine.locator("#resume").click()
    until_line(mine, r"· done", DONE)
    assert status(run)["step"] == goal


def test_a_kill_9_is_said_and_can_be_resumed(visit, server, start, status):
    run = start("tiny", "budget.steps=200")["run"]
    page = visit(f"/?run={run}", tab="Train")
    until_line(page, r"training, step \d+ of 200", 120)
    (worker,) = server.workers()
    os.kill(worker.pid, signal.SIGKILL)
    until_line(page, r"crashed", 30)
    assert "ended without a message" in line(page)  # its reason
    assert status(run)["state"] == "crashed"
    assert page.locator("#resume").is_disabled()  # this visitor didn't start it


def test_two_runs_queue_and_the_second_takes_its_turn(visit, start, server, status):
    first = start("tiny", "budget.steps=400")
    second = start("tiny", "budget.steps=3")
    page = visit(f"/?run={second['run']}", tab="Train")
    until_line(page, "waiting for its turn · next in the queue · another run is training: watch it")
    wait_for(lambda: second["run"][:6] in page.locator("#tab-train").inner_text(), why="the queue isn't shown")
    server.client().predict(first["run"], first["token"], api_name="/stop")
    until_line(page, "· done", DONE)
    assert status(first["run"])["state"] == "stopped"


def test_a_restart_of_the_server_loses_nothing(visit, server, start, status):
    run = start("tiny", "budget.steps=60")["run"]
    page = visit(f"/?run={run}")
    until_line(page, r"training|preparing|student", 60)
    server.kill()
    assert server.workers()  # training goes on without the page
    server.start()
    page.goto(f"{server.url}/?run={run}")
    until_line(page, r"· done", DONE)
    during = [e for e in store.view(server.home / "runs" / run).series(Evaluation) if e.phase == "during"]
    assert during and during[-1].step == 60


def test_a_link_to_a_run_and_to_none(visit, start, status):
    run = start("tiny", "budget.steps=2")["run"]
    wait_for(lambda: status(run)["final"], 120)
    start_other = start("tiny-ce", "budget.steps=2", "teachers=[]")["run"]
    wait_for(lambda: status(start_other)["final"], 120)
    until_line(visit(f"/?run={run}"), rf"run {run[:6]} · tiny · done")
    until_line(visit("/"), rf"run {start_other[:6]}")  # the newest
    page = visit("/?run=<script>alert(1)</script>")
    until_line(page, "There is no run")
    assert page.locator("#status-line script").count() == 0


def test_what_a_run_says_can_not_inject_anything(visit, server, start, status):
    text = "</ul></p><img src=x onerror=window.hit=1><script>window.hit=1</script>"
    run = start("tiny", "budget.steps=2", f"name={text!r}".replace("/", "\u2215"), "probe.every=1")["run"]
    wait_for(lambda: status(run)["final"], 120)
    folder = server.home / "runs" / run
    (folder / "stdout.log").write_text(text + "\n")
    with EventWriter(folder / "events.jsonl") as events:
        events.write(Warning(code="x", text=text))
        events.write(Sample(step=2, problem="showcase:crayons", text=text, right=False))
    page = visit(f"/?run={run}")
    for name in ("Train", "Insight", "Compare", "Runs"):
        open_tab(page, name)
        page.wait_for_timeout(1500)
    open_tab(page, "Train")
    page.get_by_label("Show", exact=True).click()
    page.get_by_role("option", name="program output").click()
    page.wait_for_timeout(1500)
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
