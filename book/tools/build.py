"""Build all editions of the book with Sphinx, and of them the site.

`python -m book.tools.build` builds all; `--serve PORT EDITION` rebuilds one while you write.
"""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from jupyter_book.config import get_final_config

from book import BOOK, ROOT
from book.tools.configuration import (
    SITE,
    UNUSED,
    configuration,
    contents,
    published,
    table_of_contents,
)
from book.tools.languages import FIRST, LANGUAGES
from book.tools.site import write_site


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def prepare(edition: str, url: str | None = None, root: Path = ROOT) -> list[str]:
    """Write an edition's `conf.py`; return the arguments that make Sphinx build the edition."""
    build_dir = root / "_build"
    folder, source = build_dir / "conf" / edition, root / "book" / edition
    toc = folder / "_toc.yml"
    settings, _ = get_final_config(
        user_yaml=configuration(edition, url, root),
        cli_config={"external_toc_path": str(toc), "latex_individualpages": False},
        raise_on_invalid=True,
    )
    settings["extensions"].remove("sphinx_thebe")  # it loads scripts from another host
    _write_if_changed(toc, table_of_contents(root))
    _write_if_changed(
        folder / "conf.py", "".join(f"{key} = {settings[key]!r}\n" for key in sorted(settings))
    )
    paths = [folder, "-d", build_dir / "doctrees" / edition, source, build_dir / "html" / edition]
    return ["-c", *map(str, paths)]


def sphinx_environment() -> dict[str, str]:
    """Return the environment in which Sphinx finds the book's extensions."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def build(editions: list[str], url: str | None = None, root: Path = ROOT) -> None:
    """Build editions, side by side, and of them the site; warnings are errors.

    Args:
        editions: keys of `LANGUAGES`.
        url: the repository's address, if another one than in `_config.yml`.
        root: the folder of `_config.yml`; the site is built in its `_build/site`.
    """
    command = [sys.executable, "-m", "sphinx", "-b", "html", "--quiet", "-W", "--keep-going", "-n"]
    commands = [[*command, *prepare(edition, url, root)] for edition in editions]
    run = partial(subprocess.run, check=True, env=sphinx_environment())
    build_dir = root / "_build"
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(run, commands))
    except subprocess.CalledProcessError:
        shutil.rmtree(build_dir / "doctrees")  # what Sphinx has read it does not warn of again
        raise
    site = build_dir / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(build_dir / "html", site, ignore=UNUSED)
    settings = configuration(FIRST, url, root)
    address = published(settings["repository"]["url"])
    write_site(site, settings["title"], contents(root), address)


def serve(edition: str, port: int) -> None:
    """Rebuild an edition whenever a source changes, and reload the browser."""
    command = ["sphinx_autobuild", "--port", str(port), *prepare(edition)]
    watch = ["--watch", str(BOOK), "--ignore", "*.pyc", "--ignore", "*.mo"]
    subprocess.run([sys.executable, "-m", *command, *watch], check=True, env=sphinx_environment())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the book.")
    names = ", ".join(LANGUAGES)
    parser.add_argument("edition", nargs="*", help=f"{names}; default: all")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve one edition, live")
    options = parser.parse_args()
    editions = options.edition or list(LANGUAGES)
    if unknown := set(editions) - set(LANGUAGES):
        parser.error(f"no edition is called {', '.join(sorted(unknown))}; there are {names}")
    if options.serve:
        serve(editions[0], options.serve)
    else:
        build(editions)
        print(f"\nOpen {os.path.relpath(SITE / 'index.html')} in a browser.")


if __name__ == "__main__":
    main()
