"""What the suite itself promises: which warnings fail a test, which outputs of a page count."""

import warnings

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book import ROOT

MODULES = [
    ".".join(path.relative_to(folder).with_suffix("").parts)
    for folder, pattern in (
        (ROOT, "lnlib/**/*.py"),
        (ROOT, "book/**/*.py"),
        *((folder, "*.py") for folder in (ROOT / "tests").rglob("") if folder.is_dir()),
    )
    for path in folder.glob(pattern)
]


@pytest.mark.parametrize("kind", [DeprecationWarning, FutureWarning, UserWarning, RuntimeWarning])
def test_a_warning_of_ours_fails(kind):
    for module in MODULES:
        with pytest.raises(kind):
            warnings.warn_explicit("careful", kind, "", 1, module)


def test_of_a_library_only_what_it_calls_outdated_passes():
    for kind in (DeprecationWarning, FutureWarning):
        warnings.warn_explicit("outdated", kind, "", 1, "torch.jit._script")
    for kind in (UserWarning, RuntimeWarning):
        with pytest.raises(kind):
            warnings.warn_explicit("careful", kind, "", 1, "numpy._core._methods")


def cell(source, **streams):
    """A cell with what it is to have printed."""
    outputs = [new_output("stream", name=name, text=text) for name, text in streams.items()]
    return new_code_cell(source, execution_count=1, outputs=outputs)


def test_only_what_imports_say_on_stderr_is_not_compared(pytester):
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(noisy="import sys\n\nprint('no GPU', file=sys.stderr)")
    right = [cell("import noisy"), cell("import sys\n\nprint(1)", stdout="1\n")]
    wrong = [
        cell("print('careful', file=sys.stderr)"),
        cell("print(2)"),
        cell("import os\n\nprint(2)", stdout="1\n"),
    ]
    nbformat.write(new_notebook(cells=right + wrong), pytester.path / "page.ipynb")
    done = pytester.runpytest_subprocess("--nbval", "page.ipynb")  # it leaves files open
    done.assert_outcomes(passed=len(right), failed=len(wrong))
