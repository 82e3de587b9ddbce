"""The published address of the repository, and the revision of it that the notebooks install.

`python -m book.tools.address URL [--revision TAG]` writes both into `_config.yml` and the set-up
cells. A release is pinned so: its notebooks install the lnlib that they were made with.
"""

import argparse
import re

import nbformat
import yaml

from book import ROOT
from book.tools import notebooks

CONFIG = ROOT / "_config.yml"
ASSIGNMENT = re.compile(r"^( *repository, revision = ).*$", re.MULTILINE)


def read() -> tuple[str, str]:
    """Return the address, empty while there is none, and the revision."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return str(settings["repository"]["url"]), str(settings["repository"]["branch"])


def write(url: str, revision: str) -> None:
    """Write the address and the revision into the configuration and every notebook."""
    settings = CONFIG.read_text(encoding="utf-8")
    for line in (f'  url: "{url}"', f"  branch: {revision}"):
        key = line.split(":")[0]
        settings, count = re.subn(rf"^{key}: .*$", line, settings, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{CONFIG.name} has {count} lines '{key}: …', expected one")
    CONFIG.write_text(settings, encoding="utf-8", newline="\n")
    for path in notebooks.pages():
        notebook = notebooks.read(path)
        fill(notebook, url, revision)
        notebooks.write(notebook, path)


def fill(notebook: nbformat.NotebookNode, url: str, revision: str) -> None:
    """Write the address and the revision into the set-up cell."""
    cell = notebooks.set_up(notebook)
    cell.source, count = ASSIGNMENT.subn(lambda m: f'{m[1]}"{url}", "{revision}"', cell.source)
    if count != 1:
        raise ValueError(
            f"the set-up cell assigns `repository, revision` {count} times, expected once"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the repository's address.")
    parser.add_argument("url", help="https://github.com/OWNER/NAME, or empty")
    parser.add_argument("--revision", metavar="TAG", default="main", help="what notebooks install")
    options = parser.parse_args()
    write(options.url, options.revision)


if __name__ == "__main__":
    main()
