"""Secrets are taken out of text, output and events; what is no secret stays as it is."""

import io
import json
import subprocess
import sys
from pathlib import Path

from distill.config.secrets import HIDDEN, Redacting, redacted
from distill.runs.events import Error, EventWriter, Metric, read

ROOT = Path(__file__).parents[2]


def test_what_the_environment_calls_a_secret_is_hidden(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef-key")
    monkeypatch.setenv("MY_PASSWORD", "correct horse battery")
    assert redacted("key 0123456789abcdef-key, correct horse battery") == f"key {HIDDEN}, {HIDDEN}"


def test_what_is_shaped_like_a_token_is_hidden_wherever_it_came_from():
    user, visitor = "hf_" + "aB3" * 11 + "x", "hf_oauth_eyJhbGciOi.eyJzdWIi-_x.c2ln_nature"
    assert redacted(f"Bearer {user}; {visitor}") == f"Bearer {HIDDEN}; {HIDDEN}"


def test_words_and_switches_are_no_secrets(monkeypatch):
    for name, value in (("SOME_KEY", "training"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("N_KEY", "123456789012")):
        monkeypatch.setenv(name, value)
    text = "training at step 1 of 123456789012 with hf_device_map and hf_xet"
    assert redacted(text) == text


def test_a_line_of_events_stays_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRETMARKER0123456789")
    with EventWriter(tmp_path / "events.jsonl") as events:
        events.write(Error(text='401 for "hf_SECRETMARKER0123456789"'))
        events.write(Metric(step=1, steps=2, loss=0.5, terms={"task": 0.5}))
    error, metric = read(tmp_path / "events.jsonl")[0]
    assert (error.text, metric.terms) == (f'401 for "{HIDDEN}"', {"task": 0.5})


def test_a_guarded_stream_is_otherwise_the_same():
    stream = io.StringIO()
    guarded = Redacting(stream)
    print("with hf_SECRETMARKER0123456789", file=guarded)
    guarded.writelines(["hf_SECRETMARKER0123456789\n", "end"])
    guarded.flush()
    assert stream.getvalue() == f"with {HIDDEN}\n{HIDDEN}\nend" and not guarded.isatty()


def test_prints_logs_and_tracebacks_are_guarded():
    code = (
        "from distill.config.secrets import guard_output; guard_output()\n"
        "import logging, json, os; t = os.environ['A_TOKEN']\n"
        "print(t); logging.warning('of %s', t); raise ValueError(json.dumps({'url': 'https://x?t=' + t}))"
    )
    secret = {"A_TOKEN": "not-shaped-like-one"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=secret)
    said = done.stdout + done.stderr
    assert secret["A_TOKEN"] not in said and said.count(HIDDEN) == 3 and done.returncode == 1
    assert (
        json.loads(done.stderr.strip().splitlines()[-1].removeprefix("ValueError: "))["url"] == f"https://x?t={HIDDEN}"
    )
