"""What a reader installs: the wheel alone runs a notebook, and NumPy alone runs the reference."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import uv
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from book import ROOT
from book.tools import address, notebooks

PAGES = notebooks.pages()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
PLATFORMS = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_28",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content and nothing else."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT]
    subprocess.run([*pip, *map(str, build)], check=True)
    (wheel,) = wheels.glob("lnlib-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True,
    )
    return target


def test_wheel_holds_the_package_whole_and_nothing_else(installed):
    ignored = {"__pycache__"}
    source, wheel = (
        {p.relative_to(root) for p in root.rglob("*") if p.is_file() and not ignored & {*p.parts}}
        for root in (ROOT / "lnlib", installed / "lnlib")
    )
    assert source == wheel
    others = {p.name for p in installed.iterdir()} - {"lnlib"}
    assert all(name.endswith(".dist-info") for name in others)


def test_first_notebook_runs_with_the_wheel_alone(installed, tmp_path):
    copy = shutil.copy(PAGES[0], tmp_path)
    notebook = notebooks.read(copy)
    notebook.cells.append(new_code_cell("import lnlib\n\nlnlib.__file__"))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    assert str(installed) in notebook.cells[-1].outputs[0].data["text/plain"]


def test_reference_needs_no_torch(installed, tmp_path):
    code = "import sys; sys.modules['torch'] = None; import lnlib.reference; print(lnlib.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(installed))


@pytest.fixture
def shell():
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    yield shell
    shell.history_manager.end_session()


@pytest.fixture
def installs(shell, monkeypatch):
    """What the set-up cell asks pip for, where lnlib is missing."""
    asked = []
    shell.register_magic_function(asked.append, "line", "pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return asked


def set_up(url):
    notebook = notebooks.read(PAGES[0])
    address.fill(notebook, url, "v1.0")
    return notebooks.installation(notebook)


def test_set_up_installs_from_the_published_address(shell, installs):
    shell.run_cell(set_up("https://example.org/book")).raise_error()
    assert installs == ['install --quiet "lnlib[book] @ git+https://example.org/book@v1.0"']


def test_set_up_explains_itself_without_an_address(shell, installs, capsys):
    result = shell.run_cell(set_up(""))
    assert isinstance(result.error_in_exec, ModuleNotFoundError)
    assert "no published address yet" in str(result.error_in_exec)
    assert installs == []


@pytest.fixture(scope="module")
def resolve(tmp_path_factory):
    """Ask uv, under no setting of this machine, what the project needs or where wheels exist."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
    ours |= {"UV_CACHE_DIR": str(tmp_path_factory.mktemp("uv")), "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    command = [uv.find_uv_bin(), "--no-config", "pip", "compile", "--no-build", "--quiet"]

    def run(*arguments):
        return subprocess.run(
            [*command, *map(str, arguments)], cwd=ROOT, env=ours, capture_output=True, text=True
        )

    return run


@pytest.fixture(scope="module")
def resolved(resolve, tmp_path_factory):
    """The pins as the public index gives them now; afterwards uv knows its packages by heart."""
    pins = Path(shutil.copy(ROOT / "requirements.txt", tmp_path_factory.mktemp("pins")))
    needs = ["pyproject.toml", "--all-extras", "--group", "test"]
    done = resolve(*needs, "--universal", "--no-annotate", "--no-header", "--output-file", pins)
    if "error sending request" in done.stderr:
        pytest.skip("no package index answers: the pins were not resolved")
    assert done.returncode == 0, done.stderr
    return pins


def wheels(resolve, pins, target):
    """Look for a wheel of every pin for a version of Python and a platform."""
    python, platform = target
    chosen = ["--python-version", python, "--python-platform", platform]
    return resolve(pins, "--no-deps", "--offline", "--output-file", os.devnull, *chosen)


def test_pins_are_those_that_resolve(resolved):
    stored = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = resolved.read_text(encoding="utf-8").splitlines()
    assert [line for line in stored if not line.startswith("#")] == found


def test_every_pin_has_a_wheel_for_every_python_and_platform(resolve, resolved):
    debian = "3.11.2"
    targets = [*product([*PYTHONS, debian], PLATFORMS)]
    with ThreadPoolExecutor(2) as pool:
        done = [*pool.map(partial(wheels, resolve, resolved), targets)]
    failed = {t: d.stderr for t, d in zip(targets, done, strict=True) if d.returncode}
    assert failed == {}


def test_a_pin_without_a_wheel_is_noticed(resolve, resolved, tmp_path):
    text = resolved.read_text(encoding="utf-8").replace("h5py==3.16.0", "h5py==3.14.0")
    (tmp_path / "pins.txt").write_text(text, encoding="utf-8")
    done = wheels(resolve, tmp_path / "pins.txt", ("3.14", PLATFORMS[0]))
    assert done.returncode == 1
    assert "h5py==3.14.0 has no usable wheels" in done.stderr


def test_a_pin_that_public_torch_rejects_is_noticed(resolve, resolved, tmp_path):
    text = resolved.read_text(encoding="utf-8").replace("triton==3.7.1", "triton==3.9.0")
    (tmp_path / "pins.txt").write_text(text, encoding="utf-8")
    needs = ["pyproject.toml", "--universal", "--constraint", tmp_path / "pins.txt"]
    done = resolve(*needs, "--output-file", os.devnull)
    assert done.returncode == 1
    assert "torch==2.13.0 depends on triton" in done.stderr


def test_one_range_of_pythons_is_named_everywhere():
    span = f"Python {PYTHONS[0]} to {PYTHONS[-1]}"
    for name in ("README.md", "Makefile"):
        assert span in (ROOT / name).read_text(encoding="utf-8"), name
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert set(PYTHONS) == set(re.findall(r'"(3\.\d+)"', workflow))
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
