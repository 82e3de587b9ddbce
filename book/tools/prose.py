"""The notebooks as readers open them elsewhere: without the markup that only Sphinx understands.

Citations name author and year and link to the work, labels of sections become anchors, exercises
have their hint and their solution folded below, below the cell to start from if there is one. Code,
outputs and ids stay as they are.
`python -m book.tools.prose FOLDER` writes the notebooks of all editions into a folder.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import Entry, parse_file

from book import BOOK
from book.tools import address, claims, notebooks
from book.tools.configuration import configuration, contents, published
from book.tools.languages import LANGUAGES
from book.tools.reading import markdown, stars, text_outputs
from book.tools.twins import LABEL

EXTENSIONS = configuration(next(iter(LANGUAGES)))["parse"]["myst_enable_extensions"]
PARSER = create_md_parser(MdParserConfig(enable_extensions={*EXTENSIONS}), RendererHTML)
DIRECTIVE = re.compile(r"\{([\w-]+)\} *(.*)")
OPTION = re.compile(r":([\w-]+): *(.*)\n?")
LEVEL = re.compile(r"level-(\d)")
ENTRY = re.compile(r"((?:^\S.*\n)+)((?:^(?: +.*)?(?:\n|\Z))+)", re.MULTILINE)

Edit = tuple[int, int, str]  # of a text: from here to there, by what
Solution = tuple[str, list[nbformat.NotebookNode]]  # its text, and the code cells below it


@dataclass(frozen=True)
class Edition:
    """What the pages of an edition refer to.

    Args:
        code: its language.
        site: the beginning of the addresses of its pages.
        address: where a page of this file name is found.
        places: the file name of the page on which each label stands.
        exercises: the name of each exercise, by label.
        solutions: of each exercise, by label.
        works: the bibliography.
    """

    code: str
    site: str
    address: Callable[[str], str]
    places: dict[str, str]
    exercises: dict[str, str]
    solutions: dict[str, Solution]
    works: dict[str, Entry]

    @property
    def words(self) -> dict[str, Any]:
        """What is said of exercises in its language."""
        words: dict[str, Any] = LANGUAGES[self.code]["exercises"]
        return words


def beside_notebooks(name: str, site: str) -> str:
    """Return where a notebook finds a page: beside it, or on the site.

    >>> beside_notebooks("literatur.md", "../")
    '../literatur.html'
    """
    return name if name.endswith(".ipynb") else f"{site}{Path(name).stem}.html"


def edition(
    folder: Path,
    code: str,
    site: str,
    order: Iterable[str],
    address: Callable[[str], str] | None = None,
) -> Edition:
    """Read an edition.

    Args:
        folder: its pages.
        code: its language.
        site: the beginning of the addresses of its pages.
        order: the file stems of the pages, in the order in which exercises are numbered.
        address: where a page of a file name is found; without it, as notebooks find it.
    """
    words = LANGUAGES[code]["exercises"]
    places: dict[str, str] = {}
    exercises: dict[str, str] = {}
    solutions: dict[str, Solution] = {}
    for path in (path for stem in order for path in folder.glob(f"{stem}.*")):
        page = notebooks.read(path) if path.suffix == ".ipynb" else None
        text = markdown(page) if page else path.read_text(encoding="utf-8")
        places |= {a or b: path.name for a, b in LABEL.findall(text)}
        for kind, _, options, _ in filter(None, map(directive, PARSER.parse(text))):
            if kind == "ledger":
                places |= {f"ledger-{claim.id.lower()}": path.name for claim in claims.load()}
            if kind == "exercise":
                exercises[options["label"]] = f"{words['exercise']} {len(exercises) + 1}"
        solutions |= _solutions(page.cells) if page else {}
    works = parse_file(BOOK / "references.bib").entries
    find = address or partial(beside_notebooks, site=site)
    return Edition(code, site, find, places, exercises, solutions, works)


def _solutions(cells: list[nbformat.NotebookNode]) -> dict[str, Solution]:
    """Return the solutions in these cells, by label of the exercise."""
    found: dict[str, Solution] = {}
    for cell in cells:
        if cell.cell_type == "code":
            for _, code in [*found.values()][-1:]:  # the one above
                code.append(cell)
        for kind, solved, _, body in filter(None, map(directive, PARSER.parse(cell.source))):
            if kind == "solution":
                found[solved] = (body, [])
    return found


def directive(token: Token) -> tuple[str, str, dict[str, str], str] | None:
    """Return name, argument, options and body of a token that is a directive."""
    match = DIRECTIVE.fullmatch(token.info.strip())
    if token.type not in ("fence", "colon_fence") or not match:
        return None
    options, body = {}, token.content
    while option := OPTION.match(body):
        options[option[1]] = option[2]
        body = body[option.end() :]
    return match[1], match[2], options, body.strip("\n")


def plain(text: str, page: str, book: Edition) -> str:
    """Return a text of a page without Sphinx's markup.

    Raises:
        KeyError: it holds a role or a directive that is not known here.
    """
    tokens = PARSER.parse(text)
    for start, end, new in sorted(_edits(text, tokens, page, book), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _edits(text: str, tokens: list[Token], page: str, book: Edition) -> Iterator[Edit]:
    begins = [0, *(m.end() for m in re.finditer("\n", text)), len(text)]
    at = 0
    for token in tokens:
        first, last = (begins[min(line, len(begins) - 1)] for line in token.map or (0, 0))
        at = max(at, first)
        if token.type == "myst_target":
            yield first, last, f'<a id="{token.content}"></a>\n\n'
        elif token.type == "html_block" and token.content.startswith("<div"):
            yield first, last, ""
        elif found := directive(token):
            name, *rest = found
            yield first, last, _DIRECTIVES[name](*rest, page=page, book=book) + "\n"
        for child in token.children or ():
            if edit := _inline(text, child, at, page, book):
                yield edit
                at = edit[1]


def _inline(text: str, token: Token, at: int, page: str, book: Edition) -> Edit | None:
    """Return what becomes of a role or a link, which is to be found from some place on."""
    if token.type == "myst_role":
        name = token.meta["name"]
        written, new = f"{{{name}}}`{token.content}`", _ROLES[name](token.content, book)
    elif token.type == "link_open" and (new := _link(str(token.attrs["href"]), page, book)):
        written, new = f"]({token.attrs['href']})", f"]({new})"
    else:
        return None
    start = text.index(written, at)
    return start, start + len(written), new


def _link(href: str, page: str, book: Edition) -> str:
    """Return where a link within the book leads from a notebook; nothing if as before."""
    name, _, label = href.partition("#")
    name = name or book.places.get(label, page)
    if name == page or "/" in name or not name.endswith((".ipynb", ".md")):
        return ""
    return f"{book.address(name)}#{label}" if label else book.address(name)


# --- roles --------------------------------------------------------------------------------------


def _cite(keys: str, book: Edition) -> str:
    return f"({'; '.join(_named(key, book, '{}, {}') for key in keys.split(','))})"


def _cite_in_text(keys: str, book: Edition) -> str:
    return ", ".join(_named(key, book, "{} ({})") for key in keys.split(","))


def _named(key: str, book: Edition, form: str) -> str:
    """Return a work by author and year, linked to where one finds it."""
    work = book.works[key.strip()]
    names = [" ".join([*p.prelast_names, *p.last_names]) for p in work.persons["author"]]
    first, *others = (name.strip("{}") for name in names)
    if len(others) == 1:
        first += f" {book.words['and']} {others[0]}"
    elif others:
        first += " et al."
    where = work.fields.get("url") or f"https://doi.org/{work.fields['doi']}"
    return f"[{form.format(first, work.fields['year'])}]({where})"


def _index(content: str, book: Edition) -> str:
    return re.sub(r"\s*<[^<>]*>$", "", content)


_ROLES: dict[str, Callable[[str, Edition], str]] = {
    "cite": _cite, "cite:p": _cite, "cite:t": _cite_in_text, "index": _index,
}  # fmt: skip


# --- directives ---------------------------------------------------------------------------------


def _exercise(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    label = options["label"]
    level = LEVEL.search(options.get("class", ""))
    head = f"**{book.exercises[label]} ({title})** {stars(int(level[1])) if level else ''}".strip()
    text, cells = book.solutions[label]
    shown = [plain(text, page, book)]
    for cell in cells:
        shown += [f"```python\n{cell.source}\n```"]
        shown += [f"```\n{printed.rstrip()}\n```"] if (printed := text_outputs(cell)) else []
    solution = _folded(book.words["solution"], "\n\n".join(shown))
    return "\n\n".join([f'<a id="{label}"></a>', head, plain(body, page, book), solution])


def _solution(label: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    name = f"[{book.exercises[label]}]({book.address(book.places[label])}#{label})"
    head = f"**{book.words['solution_to'].format(name)}**"
    anchor = [f'<a id="{options["label"]}"></a>'] if "label" in options else []
    return "\n\n".join([*anchor, head, plain(body, page, book)])


def _dropdown(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    return _folded(title, plain(body, page, book))


def _figure(path: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    image = f"![{options['alt']}]({book.site}_images/{Path(path).name})"
    return f"{image}\n\n*{plain(body, page, book)}*"


def _box(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    return plain(body, page, book)


def _card(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    return f"**{title}**\n\n{plain(body, page, book)}"


def _button(name: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    return f"[{body}]({book.address(f'{name}.ipynb')})"


def _ledger(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    words = LANGUAGES[book.code]["claims"]
    opening, closing = words["quotes"]
    entries = []
    for claim in claims.load():
        anchor = f'<a id="ledger-{claim.id.lower()}"></a>'
        place = book.address(f"{claim.page}.ipynb")
        said = f"{anchor}\n\n**[{claim.id}]({place})** {opening}{claim.claim[book.code]}{closing}"
        sources = f" {{cite:p}}`{','.join(claim.references)}`" if claim.references else ""
        finding = plain(f"{claim.finding[book.code]}{sources}", page, book)
        entries.append(f"{said} · *{words['verdicts'][claim.verdict]}*\n\n{finding}")
    return "\n\n".join(entries)


def _glossary(title: str, options: dict[str, str], body: str, *, page: str, book: Edition) -> str:
    entries = []
    for terms, definition in ENTRY.findall(body):
        names = ", ".join(f"**{term}**" for term in terms.splitlines())
        entries.append(f"{names}: {plain(' '.join(definition.split()), page, book)}")
    return "\n\n".join(sorted(entries, key=str.casefold))


def _folded(title: str, text: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


_DIRECTIVES: dict[str, Callable[..., str]] = {
    "exercise": _exercise, "solution": _solution, "dropdown": _dropdown, "figure": _figure,
    "glossary": _glossary, "grid": _box, "grid-item": _box, "grid-item-card": _card,
    "button-ref": _button, "ledger": _ledger,
}  # fmt: skip


# --- notebooks ----------------------------------------------------------------------------------


def prose(notebook: nbformat.NotebookNode, page: str, book: Edition) -> nbformat.NotebookNode:
    """Return a notebook without Sphinx's markup."""
    cells = notebook.cells
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, page, book)
    for i in reversed([i for i, cell in enumerate(cells) if starts(cell)]):
        label, text = cells[i].id.removesuffix("-start"), cells[i - 1].source
        fold = text.index("<details>", text.index(f'<a id="{label}"></a>'))
        cells[i - 1].source = text[:fold].rstrip()
        cells.insert(i + 1, nbformat.v4.new_markdown_cell(text[fold:], id=f"{label}-folded"))
    return notebook


def starts(cell: nbformat.NotebookNode) -> bool:
    """Return whether a cell is the one to start from, between an exercise and what is folded."""
    return "start" in cell.metadata.get("tags", ())


def write(source: Path, target: Path, code: str, site: str, order: Iterable[str]) -> None:
    """Write the notebooks of an edition.

    Args:
        source: the folder of its pages.
        target: the folder to write into, which may be the same.
        code: its language.
        site: the beginning of the addresses of its pages, from that folder or absolute.
        order: the file stems of the pages, in reading order.
    """
    book = edition(source, code, site, order)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.ipynb")):
        notebooks.write(prose(notebooks.read(path), path.name, book), target / path.name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the notebooks without Sphinx's markup.")
    parser.add_argument("folder", type=Path, help="where to; each edition gets a folder in it")
    options = parser.parse_args()
    if not (site := published(address.read()[0])):
        parser.error("links need the published address; write it: make address URL=...")
    for code in LANGUAGES:
        write(BOOK / code, options.folder / code, code, f"{site}{code}/", contents())


if __name__ == "__main__":
    main()
