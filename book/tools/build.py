"""Build both editions of the book from the one configuration at the top.

The German edition is what ``_config.yml`` and ``_toc.yml`` describe; the English one differs in
language, title and paths only.
"""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jupyter_book.config import get_final_config

from book import BOOK, ROOT
from book.tools import pages

BUILD = ROOT / "_build"
SITE = BUILD / "site"
FIRST = "de"
PDF = "layer-normalization-{}.pdf"  # of an edition; beside the editions where the site is published
TRANSLATIONS: dict[str, dict[str, Any]] = {
    "de": {},
    "en": {
        "author": "The authors of lnlib",
        "copyright": "2026, the authors of lnlib. Text CC BY 4.0, code MIT",
        "language": "en",
        "nb_code_prompt_show": "Show code",
        "nb_code_prompt_hide": "Hide code",
        "html_theme_options": {
            "search_bar_text": "Search this book …",
            "toc_title": "On this page",
        },
    },
}


def configuration(edition: str, url: str | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Return one edition's Jupyter Book configuration.

    Args:
        edition: `"de"` or `"en"`.
        url: the repository's address, if another one than in `_config.yml`.
        root: the folder of `_config.yml`.
    """
    config: dict[str, Any] = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    translation = dict(TRANSLATIONS[edition])
    options = config["sphinx"]["config"]["html_theme_options"]
    options.update(translation.pop("html_theme_options", {}))
    for key in ("author", "copyright"):
        config[key] = translation.pop(key, config[key])
    config["sphinx"]["config"] |= translation | {"editions_twin": True}
    config["bibtex_bibfiles"] = [str(root / bib) for bib in config["bibtex_bibfiles"]]
    config["repository"]["path_to_book"] = f"book/{edition}"
    if url is not None:
        config["repository"]["url"] = url
    if address := pages.published(config["repository"]["url"]):
        config["sphinx"]["extra_extensions"].append("sphinxext.opengraph")
        config["sphinx"]["config"] |= {
            "html_baseurl": f"{address}{edition}/",
            "ogp_site_url": f"{address}{edition}/",
            "ogp_site_name": config["title"],
            "ogp_enable_meta_description": False,  # with TeX; pages.py describes the pages
            "editions_pdf": f"{address}{PDF.format(edition)}",
        }
    return config


def contents(root: Path = ROOT) -> str:
    """Return the table of contents with paths from an edition's folder."""
    return (root / "_toc.yml").read_text(encoding="utf-8").replace(f"book/{FIRST}/", "")


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
    _write_if_changed(toc, contents(root))
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
        editions: `"de"`, `"en"` or both.
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
    settings = configuration(FIRST, url, root)
    address = pages.published(settings["repository"]["url"])
    site = build_dir / "site"
    pages.finish(build_dir / "html", site, settings["title"], address)
    (site / ".nojekyll").touch()


def serve(edition: str, port: int) -> None:
    """Rebuild an edition whenever a source changes, and reload the browser."""
    command = ["sphinx_autobuild", "--port", str(port), *prepare(edition)]
    watch = ["--watch", str(BOOK), "--ignore", "*.pyc"]
    subprocess.run([sys.executable, "-m", *command, *watch], check=True, env=sphinx_environment())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("edition", nargs="*", help="de or en; default: both")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve one edition, live")
    options = parser.parse_args()
    editions = options.edition or list(TRANSLATIONS)
    if unknown := set(editions) - set(TRANSLATIONS):
        parser.error(f"no edition is called {', '.join(sorted(unknown))}; there are de and en")
    if options.serve:
        serve(editions[0], options.serve)
    else:
        build(editions)
        print(f"\nOpen {os.path.relpath(SITE / 'index.html')} in a browser.")


if __name__ == "__main__":
    main()
