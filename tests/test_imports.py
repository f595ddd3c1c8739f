"""Imports point one way, and what must start quickly stays free of what is slow to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a room imports from its own floor and those below.
FLOORS = [
    {"errors", "assets", "wording", "overrides", "references", "config", "events", "hardware", "progress", "models"}
    | {"together", "losses", "settings", "timeline", "facts", "methods", "ragged", "readout", "sampling"}
    | {"architectures", "gguf_files", "narrow", "offload", "hub", "hub_errors", "access"}
    | {"method_words", "demands", "redaction", "oauth", "trackers"},
    {"data", "teachers", "generation"},
    {"objectives"},
    {"training", "evaluation", "processes", "turns", "views", "runs", "owners"} | {"budget_edits", "run_list"},
    {"publish", "push", "finish", "gather", "pipeline", "worker", "zoo", "terminal", "preview"}
    | {"slices", "fetching", "zero"}
    | {"asked", "assemble", "learning", "preparing", "seconds", "voice"}
    | {"machine", "costs", "estimate", "preflight"}
    | {"footprint", "offers", "room", "doctor", "host"}
    | {"logged", "jobs", "follower", "remote", "boot"},
    {"cli", "submitting", "__main__", "ui"},
    {"app"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SLOW = {"torch", "transformers", "peft", "accelerate", "datasets", "gradio", "numpy", "spaces"}
QUICK = ["config", "events", "hardware", "runs", "turns", "owners", "processes", "views", "terminal", "cli", "__main__"]
QUICK += ["settings", "preview", "data.sources", "timeline", "facts", "machine", "costs", "estimate", "preflight"]
QUICK += ["demands", "method_words", "footprint", "offers", "doctor", "host", "push", "oauth", "hub", "room"]
QUICK += ["budget_edits", "run_list", "access"]


def sources():
    """{module: source} of the package and app.py, as far as it is written."""
    files = [*ROOT.glob("distill/**/*.py"), *ROOT.glob("app.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


def imports(source, everywhere=True):
    """The modules imported, `from a import b` as a.b; only those that happen at import unless `everywhere`."""
    found = set()
    waiting = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def room(module):
    """distill.data.problems is in the room `data`; what is not ours is in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "distill" and len(parts) > 1 else "app" if module == "app" else None


def upward(modules):
    """Every import that points up, as "a imports b"."""
    return [
        f"{module} imports {target}"
        for module, source in modules.items()
        if room(module)
        for target in imports(source)
        if room(target) and FLOOR[room(target)] > FLOOR[room(module)]
    ]


def importers(modules, package):
    return {module for module, source in modules.items() if package in {name.split(".")[0] for name in imports(source)}}


def slow(module, modules, seen=None):
    """The slow packages that importing `module` imports, directly or through ours."""
    seen = set() if seen is None else seen
    if module in seen:
        return set()
    seen.add(module)
    found = set()
    for target in imports(modules[module], everywhere=False):
        found |= {target.split(".")[0]} & SLOW
        for ours in (target, target.rpartition(".")[0]):
            if ours in modules and ours != module:
                found |= slow(ours, modules, seen)
    return found


def test_every_room_has_a_floor():
    assert {room(module) for module in sources()} - {None} <= set(FLOOR)


def test_imports_point_one_way():
    assert upward(sources()) == []


def test_only_the_page_imports_gradio_and_only_zero_imports_spaces():
    modules = sources()
    assert all(room(module) in ("ui", "app") for module in importers(modules, "gradio"))
    assert importers(modules, "spaces") <= {"distill.zero"}


@pytest.mark.parametrize("module", QUICK)
def test_quick_modules_import_nothing_slow(module):
    assert slow(f"distill.{module}", sources()) == set()


def test_the_command_line_starts_without_anything_slow():
    code = f"import sys, distill.__main__; print(*({SLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_the_rules_see_what_they_forbid():
    modules = {
        "distill.losses.cka": "from distill.training.trainer import x",
        "distill.config": "def f():\n    from distill.ui import tab",
        "distill.runs": "import distill.models",
        "distill.models": "try:\n    import torch.nn\nexcept ImportError: pass",
        "distill.data.problems": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gradio, distill.ui",
    }
    assert upward(modules) == [
        "distill.losses.cka imports distill.training.trainer.x",
        "distill.config imports distill.ui.tab",
    ]
    assert slow("distill.runs", modules) == {"torch"}
    assert importers(modules, "gradio") == set() and importers(modules, "torch") == {"distill.models"}
