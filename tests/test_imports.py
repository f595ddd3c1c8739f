"""Imports point one way, from room to room, and what must start quickly stays free of what is slow to import."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a room (a folder of distill/) imports from itself and from those before it.
ORDER = [
    "losses",
    "config",
    "models",
    "data",
    "teachers",
    "objectives",
    "runs",
    "evaluation",
    "training",
    "studies",
    "hub",
]
ORDER += ["zoo", "ui", "__main__", "app"]
# Rooms that do not know each other, though the order would let them.
STRANGERS = {("runs", "teachers"), ("evaluation", "objectives")}
SLOW = {"torch", "transformers", "peft", "accelerate", "datasets", "gradio", "numpy", "spaces"}
QUICK = ["__main__", "config", "data.sources", "models.hardware", "models.metadata"]
QUICK += ["models.hub_lookup", "runs", "hub.host", "hub.push"]
QUICK += ["ui.auth", "ui.configure.preview"]


def sources():
    """{module: source} of the package and app.py."""
    files = [*ROOT.glob("distill/**/*.py"), *ROOT.glob("app.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


def imports(source, modules, everywhere=True):
    """The modules imported, also while type-checking; only those that happen at import unless `everywhere`."""
    found = set()
    waiting = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in modules else node.module for name in names}
        elif not everywhere and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def room(module):
    """distill.data.problems is in the room `data`; what is not ours is in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "distill" and len(parts) > 1 else "app" if module == "app" else None


def wrong(modules):
    """Every import against the order or between strangers, as "a imports b"."""
    found = set()
    for module, source in modules.items():
        for target in imports(source, modules) if room(module) else ():
            here, there = room(module), room(target)
            if there and (ORDER.index(there) > ORDER.index(here) or (here, there) in STRANGERS):
                found.add(f"{module} imports {target}")
    return found


def circles(modules):
    """The modules of one circle of imports, at import or later; none where there is no circle."""
    ours = {module: {t for t in imports(source, modules) if t in modules} for module, source in modules.items()}
    try:
        TopologicalSorter(ours).prepare()
    except CycleError as error:
        return set(error.args[1])
    return set()


def importers(modules, package):
    return {
        module
        for module, source in modules.items()
        if package in {name.split(".")[0] for name in imports(source, modules)}
    }


def slow(module, modules, seen=None):
    """The slow packages that importing `module` imports, directly or through ours."""
    seen = set() if seen is None else seen
    if module in seen:
        return set()
    seen.add(module)
    found = set()
    for target in imports(modules[module], modules, everywhere=False):
        found |= {target.split(".")[0]} & SLOW
        if target in modules:
            found |= slow(target, modules, seen)
    return found


def quick(modules):
    """The modules that QUICK names, a room's one by one."""
    for name in QUICK:
        inside = [module for module in modules if module.startswith(f"distill.{name}.")]
        yield from inside or [f"distill.{name}"]


def test_every_room_has_its_place():
    assert {room(module) for module in sources()} - {None} <= set(ORDER)


def test_imports_point_one_way():
    assert wrong(sources()) == set()


def test_no_module_imports_itself_by_way_of_others():
    assert circles({"a": "import b", "b": "def f():\n    import c", "c": "import b", "d": "import a"}) == {"b", "c"}
    assert circles(sources()) == set()


def test_only_the_page_imports_gradio_and_only_zerogpu_imports_spaces():
    modules = sources()
    assert all(room(module) in ("ui", "app") for module in importers(modules, "gradio"))
    assert importers(modules, "spaces") <= {"distill.hub.zerogpu"}


@pytest.mark.parametrize("module", sorted(quick(sources())))
def test_quick_modules_import_nothing_slow(module):
    assert slow(module, sources()) == set()


def test_the_command_line_starts_without_anything_slow():
    code = f"import sys, distill.__main__; print(*({SLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_the_page_does_without_torch():
    """It would take seconds more to open, and half a gigabyte; previews are made by a child for that reason."""
    for module in ("distill.ui.page", "distill.studies.worker", "distill.studies.results"):
        assert not slow(module, sources()) & {"torch", "transformers", "peft", "accelerate", "datasets"}


def test_the_rules_see_what_they_forbid():
    modules = {
        "distill.losses.cka": "from distill.training.trainer import x",
        "distill.config.run_config": "def f():\n    from distill.ui import tab",
        "distill.runs.store": "import distill.models.loading\nfrom distill.teachers.ask import x",
        "distill.models.loading": "try:\n    import torch.nn\nexcept ImportError: pass",
        "distill.data.problems": "import typing\nif typing.TYPE_CHECKING:\n    import gradio, distill.ui.page",
    }
    assert wrong(modules) == {
        "distill.losses.cka imports distill.training.trainer",
        "distill.config.run_config imports distill.ui",
        "distill.runs.store imports distill.teachers.ask",
        "distill.data.problems imports distill.ui.page",
    }
    assert slow("distill.runs.store", modules) == {"torch"}
    assert importers(modules, "gradio") == {"distill.data.problems"}
    assert importers(modules, "torch") == {"distill.models.loading"}
