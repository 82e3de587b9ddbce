"""The plan of the house: every room can be entered, and imports run one way."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import lnlib
from book import ROOT

PACKAGE = Path(lnlib.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [  # each may import what stands before it
    {"layout", "randomness"},
    {"checks"},
    {"reference", "formula"},
    {"kernels"},
    {"functional"},
    {"modules"},
    {"variants", "recurrent", "distributed", "parity", "provenance", "identify"},
    {"kernels.peers"},
    {"kernels.gate", "kernels.clock", "kernels.conditions"},
    {"kernels.problems"},
    {"kernels.results"},
    {"kernels.measure"},
    {"kernels.search", "kernels.visit"},
    {"kernels.bench"},
    {"experiments"},
    {"pages"},
]
HEAVY = {  # the only modules that may import these
    "triton": {
        "kernels.gpu",
        "kernels.machine_code",
        "kernels.traffic",
        "parity.keras",
    },
    "matplotlib": {"pages.plots", "pages.speed"},
    "matplotlib_inline": {"pages.plots"},
    "IPython": {"pages.plots"},
    "networkx": {"pages.topics"},
    "numba": {"kernels.loops", "kernels.team"},
    "sklearn": {"experiments.ensembles", "experiments.generative", "pages.exercises.basics"},
    "scipy": {"experiments.pairs"},
    "gymnasium": {"experiments.reinforcement"},
    "book": set(),
}
IN_FUNCTIONAL = {"formula", "modules", "recurrent", "variants"}  # their tests


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path):
    """Dotted names of the modules that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: the import in line {node.lineno} begins with a dot"
            folder = ROOT / node.module.replace(".", "/")
            for name in (alias.name for alias in node.names):
                module = (folder / f"{name}.py").exists() or (folder / name).is_dir()
                yield f"{node.module}.{name}" if module else node.module


def circle(paths):
    """Modules that import each other in turn, or None."""
    graph = {name: {*imports(path)} & paths.keys() - {name} for name, path in paths.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]


def floor_of(name):
    """Of a module's own name, or else of its room's."""
    for known in (name, name.split(".")[0]):
        for floor, rooms in enumerate(FLOORS):
            if known in rooms:
                return floor
    raise AssertionError(f"{name} has no floor")


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p)], ids=name_of)
def test_imports_run_one_way(path):
    own = name_of(path)
    for found in imports(path):
        name = found.removeprefix("lnlib.")
        if found != name:
            assert floor_of(name) <= floor_of(own), f"{own} imports {name}"
        elif (library := found.split(".")[0]) in HEAVY:
            assert own in HEAVY[library], f"{own} imports {library}"


@pytest.mark.parametrize("package", ["lnlib", "book"])
def test_no_modules_import_each_other(package):
    found = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py"))
    names = {path: ".".join(part for part in path.parts if part != "__init__") for path in found}
    assert circle({name: ROOT / f"{path}.py" for path, name in names.items()}) is None


def test_an_import_that_runs_back_is_seen(tmp_path):
    (tmp_path / "m.py").write_text("from lnlib import functional\nfrom lnlib.kernels import gpu\n")
    (tmp_path / "n.py").write_text("import m\n")
    (tmp_path / "dot.py").write_text("from . import functional\n")
    assert list(imports(tmp_path / "m.py")) == ["lnlib.functional", "lnlib.kernels.gpu"]
    assert floor_of("functional") > floor_of("formula")
    assert floor_of("kernels.bench") > floor_of("kernels.gpu")
    modules = {"m": tmp_path / "m.py", "n": tmp_path / "n.py"}
    assert circle(modules) is None
    assert circle({"lnlib.functional": tmp_path / "n.py", "m": tmp_path / "m.py"})
    with pytest.raises(AssertionError, match="line 1 begins with a dot"):
        list(imports(tmp_path / "dot.py"))


def test_every_room_is_listed_and_no_other():
    found = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/*.py")}
    assert found - {"__init__", "lnlib"} == {*lnlib.ROOMS}
    assert {*lnlib.ROOMS} < {*dir(lnlib)}
    assert not {"Any", "import_module", "TYPE_CHECKING"} & {*dir(lnlib)}


def test_the_tests_have_the_same_rooms():
    tests = ROOT / "tests"
    found = {path.stem.removeprefix("test_") for path in tests.iterdir()}
    assert {*lnlib.ROOMS} - found == IN_FUNCTIONAL


@pytest.mark.parametrize("room", lnlib.ROOMS)
def test_a_room_is_an_attribute_of_the_package(room, monkeypatch):
    monkeypatch.delattr(lnlib, room, raising=False)  # as before anything imported it
    assert getattr(lnlib, room).__name__ == f"lnlib.{room}"


def test_imports_without_triton_and_figures():
    missing = dict.fromkeys(["triton", "matplotlib", "IPython"])
    rooms = "lnlib.kernels.traffic, lnlib.kernels.bench, lnlib.provenance"
    code = f"import sys; sys.modules.update({missing}); import {rooms}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_guide_leads_to_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tokens = MarkdownIt().enable("table").parse(text)
    kinds = [token.type for token in tokens]
    table = tokens[kinds.index("table_open") : kinds.index("table_close")]
    inline = [child for token in table for child in token.children or []]
    paths = [child.content for child in inline if child.type == "code_inline"]
    assert len(paths) >= 12
    folders = (ROOT, ROOT / "book" / "en")
    assert [p for p in paths if not any((folder / p).exists() for folder in folders)] == []
