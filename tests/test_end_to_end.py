"""A whole run from the command line, and what is left of it."""

import hashlib
import json
import subprocess
import sys

import pytest
from end_to_end_cases import MINI, ROOT, distill, only_run, write
from safetensors import safe_open

from distill.config.run_config import parse
from distill.data.sources import problems_for
from distill.models.loading import fingerprint
from distill.runs.events import Evaluation, Metric, Probe, Stage, Status, latest_by_step, read

FIELDS = {
    *("run", "preset", "seed", "student", "teachers", "objectives", "data", "versions", "steps", "tokens"),
    *("before", "after", "flips", "mcnemar_p", "by_family", "seconds", "peak_rss_mb", "peak_device_mb"),
    *("cka", "layers", "gate", "digests", "warnings"),
}
USE = """
import json, sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
folder, question = sys.argv[1:]
model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(folder)
chat = [{"role": "user", "content": question}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**prompt, max_new_tokens=48, do_sample=False)
assert not any(name.split(".")[0] == "distill" for name in sys.modules)
print(json.dumps(tokenizer.decode(out[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True)))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the completed command, its run folder)"""
    folder = tmp_path_factory.mktemp("finished")
    done = distill("run", write(MINI, folder), "--runs", folder / "runs", "--json")
    assert done.returncode == 0, done.stderr
    return done, only_run(folder / "runs")


@pytest.fixture(scope="module")
def report(finished):
    return json.loads((finished[1] / "report.json").read_text())


def test_json_prints_the_report_on_one_line_last(finished, report):
    assert json.loads(finished[0].stdout.splitlines()[-1]) == report
    assert len(finished[0].stdout.splitlines()) == 1


def test_the_report_has_every_field_and_they_agree(report):
    assert report.keys() >= FIELDS
    assert report["before"]["n"] == report["after"]["n"] == 24
    flips = report["flips"]
    assert report["after"]["correct"] - report["before"]["correct"] == flips["fixed"] - flips["broken"]
    assert sum(part["n"] for part in report["by_family"].values()) == 24
    assert report["new_phrasing"]["after"]["n"] == 12
    low, high = report["after"]["ci95"]
    assert low <= report["after"]["accuracy"] <= high
    assert report["seconds"].keys() == {"prepare", "signals", "train", "evaluate", "total"}
    assert report["seconds"]["total"] >= report["seconds"]["train"] > 0
    assert report["cka"].keys() == report["gate"].keys() == {"gemma2-tiny", "minicpm3-tiny"}
    assert sum(report["gate"].values()) == pytest.approx(1, abs=1e-5)
    assert report["steps"] == 6
    assert report["tokens"] > 0


def test_events_tell_the_whole_story(finished):
    events, _ = read(finished[1] / "events.jsonl")
    states = [e.state for e in events if isinstance(e, Status)]
    assert states == ["queued", "preparing", "training", "evaluating", "done"]
    assert [e.step for e in latest_by_step(events, Metric)] == [1, 2, 3, 4, 5, 6]
    probes = latest_by_step(events, Probe)
    assert [e.step for e in probes] == [0, 3, 6]
    families = {problem.family for problem in problems_for(parse(MINI), print)["probe"]}
    assert len(families) > 12 and probes[0].gate["by_family"].keys() == families
    asked = {e.text.split("(")[1].split(")")[0] for e in events if isinstance(e, Stage) and e.name == "signals"}
    assert asked == {"gemma2-tiny", "minicpm3-tiny"}
    assert {(e.phase, e.split) for e in events if isinstance(e, Evaluation)} == {
        ("during", "validation"),
        *((phase, split) for phase in ("before", "after") for split in ("held_out", "new_phrasing")),
    }


def test_the_adapter_answers_the_same_in_a_fresh_process_without_this_package(finished, tmp_path):
    folder = finished[1]
    answer = json.loads((folder / "answers.json").read_text())["after"][0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", USE, str(folder / "adapter"), answer["question"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answer["text"]


def test_the_report_says_which_weights_answered(finished, report):
    adapter = (finished[1] / "adapter" / "adapter_model.safetensors").read_bytes()
    student = fingerprint(ROOT / "assets" / "zoo" / "student-tiny")
    assert report["digests"] == {"student": student, "adapter": hashlib.sha256(adapter).hexdigest()}


def test_the_gate_is_saved_with_what_it_is(finished, report):
    with safe_open(finished[1] / "gate.safetensors", "pt") as file:
        about = file.metadata()
        mean = file.get_tensor("mean_T").tolist()
    assert about["kind"] == "prior"
    assert dict(zip(json.loads(about["teachers"]), mean, strict=True)) == pytest.approx(report["gate"], abs=1e-6)


def test_the_model_card_has_the_numbers_of_the_report(finished, report):
    card = (finished[1] / "README.md").read_text()
    assert f"{report['after']['accuracy']:.1%}" in card
    assert report["run"] in card
    assert "license: apache-2.0" in card
    assert "batch_size: 8" in card


def test_show_list_and_evaluate_read_the_run(finished, report):
    folder = finished[1]
    shown = distill("show", folder).stdout
    assert f"{report['after']['accuracy']:.1%}" in shown
    assert "n = 24" in shown
    assert folder.name in distill("list", "--runs", folder.parent).stdout
    again = distill("evaluate", folder, "--problems", "24", "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout.splitlines()[-1])
    assert (result["before"], result["after"]) == (report["before"], report["after"])


def test_the_next_run_asks_no_teacher_again_and_gives_the_same_bytes(finished, tmp_path):
    done = distill("run", write(MINI, tmp_path), "--runs", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    first, second = finished[1], only_run(tmp_path / "runs")
    name = "adapter/adapter_model.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    stages = [e for e in read(second / "events.jsonl")[0] if isinstance(e, Stage) and e.name == "signals"]
    # Nothing was computed: of each teacher there is the beginning and, at once, the end.
    assert [e.done / e.total for e in stages] == [0, 1, 0, 1]
