"""The notebooks as readers open them elsewhere: without the markup that only Sphinx understands.

Citations name author and year and link to the work, terms link to the glossary where a page uses
them first, labels of sections become anchors, captions stand below their figures, exercises have
their hint and their solution folded below, below the cell to start from if there is one. Code,
outputs and ids stay as they are.
`python -m book.tools.prose FOLDER` writes the notebooks of all editions into a folder.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from docutils.nodes import make_id
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import Entry, parse_file

from book import BOOK
from book.tools import address, claims, generated, notebooks
from book.tools.configuration import configuration, contents, published
from book.tools.languages import LANGUAGES
from book.tools.reading import caption, fenced, markdown, stars, text_outputs
from book.tools.terms import Finder, Terms
from book.tools.twins import LABEL

EXTENSIONS = configuration(next(iter(LANGUAGES)))["parse"]["myst_enable_extensions"]
PARSER = create_md_parser(MdParserConfig(enable_extensions={*EXTENSIONS}), RendererHTML)
PARSER.disable("text_join")  # it hides where a text has escaped characters
NOT_LINKED = ("heading", "blockquote", "dt")  # blocks; terms in them are no links
DIRECTIVE = re.compile(r"\{([\w-]+)\} *(.*)")
OPTION = re.compile(r":([\w-]+): *(.*)\n?")
LEVEL = re.compile(r"level-(\d)")
INDEX = "genindex"  # Sphinx makes it of the other pages, which say more in plain text
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
        figures: the number of each figure, by name.
        terms: of the glossary.
    """

    code: str
    site: str
    address: Callable[[str], str]
    places: dict[str, str]
    exercises: dict[str, str]
    solutions: dict[str, Solution]
    works: dict[str, Entry]
    figures: dict[str, str]
    terms: Terms

    @cached_property
    def finder(self) -> Finder:
        """What finds the terms, in their inflections."""
        return Finder(self.terms, LANGUAGES[self.code]["endings"])

    def page(self, name: str) -> "Page":
        """Return a page of which nothing was read yet, and no term linked."""
        explaining = {self.places[at] for at in self.terms.values()}
        return Page(name, set() if explaining - {name} else None)

    @property
    def words(self) -> dict[str, Any]:
        """What is said of exercises in its language."""
        words: dict[str, Any] = LANGUAGES[self.code]["exercises"]
        return words


@dataclass(frozen=True)
class Page:
    """A page that is being read, from its beginning to its end.

    Args:
        name: of its file.
        linked: the ids of the terms that it has linked so far; none if it links no terms.
    """

    name: str
    linked: set[str] | None


def has_text(page: str) -> bool:
    """Say whether a page is offered as plain Markdown."""
    return page != INDEX


def beside_texts(name: str) -> str:
    """Return where a text finds a page: as a text, too, or else as it is on the site.

    >>> beside_texts("1b_numerik.ipynb"), beside_texts("genindex.md")
    ('1b_numerik.md', 'genindex.html')
    """
    stem = Path(name).stem
    return f"{stem}.md" if has_text(stem) else f"{stem}.html"


def beside_notebooks(name: str, site: str) -> str:
    """Return where a notebook finds a page: beside it, or on the site.

    What has no notebook is read as plain Markdown where the site is a folder, since JupyterLab
    shows its pages without their style.

    >>> beside_notebooks("literatur.md", "../"), beside_notebooks("literatur.md", "https://a.org/")
    ('../literatur.md', 'https://a.org/literatur.html')
    """
    if name.endswith(".ipynb"):
        return name
    return site + (f"{Path(name).stem}.html" if urlsplit(site).netloc else beside_texts(name))


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
    figures: dict[str, str] = {}
    terms: Terms = {}
    for path in (path for stem in order for path in folder.glob(f"{stem}.*")):
        page = notebooks.read(path) if path.suffix == ".ipynb" else None
        text = markdown(page) if page else path.read_text(encoding="utf-8")
        places |= {a or b: path.name for a, b in LABEL.findall(text)}
        for kind, _, options, body in _directives(text):
            if kind == "ledger":
                places |= {f"ledger-{claim.id.lower()}": path.name for claim in claims.load()}
            if kind == "exercise":
                exercises[options["label"]] = f"{words['exercise']} {len(exercises) + 1}"
            if kind == "glossary":
                found = {t: anchor for names, anchor, _ in _entries(body) for t in names}
                places |= dict.fromkeys(found.values(), path.name)
                terms |= found
        for name in _figures(page.cells if page else [nbformat.v4.new_markdown_cell(text)]):
            figures[name] = words["figure"].format(len(figures) + 1)
        solutions |= _solutions(page.cells) if page and "{solution}" in text else {}
    works = parse_file(BOOK / "references.bib").entries
    find = address or partial(beside_notebooks, site=site)
    return Edition(code, site, find, places, exercises, solutions, works, figures, terms)


def _directives(text: str) -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Yield the directives of a text, and those within them."""
    for found in filter(None, map(directive, PARSER.parse(text))):
        yield found
        yield from _directives(found[3])


def _figures(cells: list[nbformat.NotebookNode]) -> Iterator[str]:
    """Yield the names of the figures in these cells."""
    for cell in cells:
        if name := caption(cell)[0]:
            yield name
        elif "{figure}" in cell.source:
            yield from (o["name"] for kind, _, o, _ in _directives(cell.source) if kind == "figure")


def _entries(glossary: str) -> Iterator[tuple[list[str], str, str]]:
    """Yield the terms of each entry, the id where it begins, and its definition."""
    for terms, definition in ENTRY.findall(glossary):
        names = terms.splitlines()
        yield names, make_id(f"term-{names[0]}"), " ".join(definition.split())


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


def plain(text: str, page: Page, book: Edition) -> str:
    """Return a text of a page without Sphinx's markup.

    Raises:
        KeyError: it holds a role or a directive that is not known here.
    """
    tokens = PARSER.parse(text)
    for start, end, new in sorted(_edits(text, tokens, page, book), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _edits(text: str, tokens: list[Token], page: Page, book: Edition) -> Iterator[Edit]:
    begins = [0, *(m.end() for m in re.finditer("\n", text)), len(text)]
    at = apart = 0
    for token in tokens:
        first, last = (begins[min(line, len(begins) - 1)] for line in token.map or (0, 0))
        at = max(at, first)
        apart += token.nesting if token.type.rpartition("_")[0] in NOT_LINKED else 0
        if token.type == "myst_target":
            yield first, last, f'<a id="{token.content}"></a>\n\n'
        elif token.type == "html_block" and token.content.startswith("<div"):
            yield first, last, f"[{book.words['site']}]({book.site}{Path(page.name).stem}.html)\n"
        elif found := directive(token):
            name, *rest = found
            yield first, last, _DIRECTIVES[name](*rest, page=page, book=book) + "\n"
        linking = replace(page, linked=None) if apart else page
        for edit in _inline(text, token.children or [], at, linking, book):
            yield edit
            at = edit[1]


def _inline(text: str, tokens: list[Token], at: int, page: Page, book: Edition) -> Iterator[Edit]:
    """Yield what becomes of what stands in a line, which is to be found from some place on."""
    within_link = False
    for token in tokens:
        if token.type == "link_open":
            href = str(token.attrs["href"])
            written, new = f"]({href}", f"]({_link(href, page, book)}"
        elif within_link:
            within_link = token.type != "link_close"
            continue
        elif token.type == "myst_role":
            name = token.meta["name"]
            written, new = f"{{{name}}}`{token.content}`", _ROLES[name](token.content, page, book)
        elif token.type == "text":
            written, new = token.content, _linked(token.content, page, book)
        else:
            written = new = token.markup if token.type == "text_special" else token.content
        within_link = token.type == "link_open"
        start = text.index(written, at)
        at = start + len(written)
        yield start, at, new


def _linked(text: str, page: Page, book: Edition) -> str:
    """Return a text in which the first use of each term on a page is a link to the glossary."""
    if page.linked is None:
        return text
    parts, end = [], 0
    for use, anchor in book.finder.first_uses(text, page.linked):
        parts += [text[end : use.start()], f"[{use[0]}]({_link(f'#{anchor}', page, book)})"]
        end = use.end()
    return "".join([*parts, text[end:]])


def _link(href: str, page: Page, book: Edition) -> str:
    """Return where a link leads from a notebook."""
    name, _, label = href.partition("#")
    name = name or book.places.get(label, page.name)
    if name == page.name or "/" in name or not name.endswith((".ipynb", ".md")):
        return href
    return f"{book.address(name)}#{label}" if label else book.address(name)


# --- roles --------------------------------------------------------------------------------------


def _cite(keys: str, page: Page, book: Edition) -> str:
    return f"({'; '.join(_named(key, book, '{}, {}') for key in keys.split(','))})"


def _cite_in_text(keys: str, page: Page, book: Edition) -> str:
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


def _index(content: str, page: Page, book: Edition) -> str:
    return _linked(re.sub(r"\s*<[^<>]*>$", "", content), page, book)


_ROLES: dict[str, Callable[[str, Page, Edition], str]] = {
    "cite": _cite, "cite:p": _cite, "cite:t": _cite_in_text, "index": _index,
}  # fmt: skip


# --- directives ---------------------------------------------------------------------------------


def _exercise(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    label = options["label"]
    level = LEVEL.search(options.get("class", ""))
    head = f"**{book.exercises[label]} ({title})** {stars(int(level[1])) if level else ''}".strip()
    text, cells = book.solutions[label]
    asked, shown = plain(body, page, book), [plain(text, page, book)]
    for cell in cells:
        shown += [fenced(cell.source, "python")]
        shown += [fenced(printed.rstrip())] if (printed := text_outputs(cell)) else []
    solution = _folded(book.words["solution"], "\n\n".join(shown))
    return "\n\n".join([f'<a id="{label}"></a>', head, asked, solution])


def _solution(label: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    name = f"[{book.exercises[label]}]({book.address(book.places[label])}#{label})"
    head = f"**{book.words['solution_to'].format(name)}**"
    anchor = [f'<a id="{options["label"]}"></a>'] if "label" in options else []
    return "\n\n".join([*anchor, head, plain(body, page, book)])


def _dropdown(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return _folded(title, plain(body, page, book))


def _figure(path: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    image = f"![{options['alt']}]({book.site}_images/{Path(path).name})"
    return f"{image}\n\n{_caption(options['name'], body, page, book)}"


def _caption(name: str, text: str, page: Page, book: Edition) -> str:
    """Return what stands below a figure."""
    return f"*{book.figures[name]}: {plain(text, replace(page, linked=None), book)}*"


def _box(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return plain(body, page, book)


def _card(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return f"**{title}**\n\n{plain(body, page, book)}"


def _button(name: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return f"[{body}]({book.address(f'{name}.ipynb')})"


def _ledger(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    words = LANGUAGES[book.code]["claims"]
    opening, closing = words["quotes"]
    entries, said_of = [], replace(page, linked=None)
    for claim in claims.load():
        anchor = f'<a id="ledger-{claim.id.lower()}"></a>'
        place = book.address(f"{claim.page}.ipynb")
        said = f"{anchor}\n\n**[{claim.id}]({place})** {opening}{claim.claim[book.code]}{closing}"
        sources = f" {{cite:p}}`{','.join(claim.references)}`" if claim.references else ""
        finding = plain(f"{claim.finding[book.code]}{sources}", said_of, book)
        entries.append(f"{said} · *{words['verdicts'][claim.verdict]}*\n\n{finding}")
    return "\n\n".join(entries)


def _glossary(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    entries = []
    for terms, anchor, definition in sorted(_entries(body), key=lambda entry: entry[1]):
        names = ", ".join(f"**{term}**" for term in terms)
        said = plain(definition, replace(page, linked={anchor}), book)
        entries.append(f'<a id="{anchor}"></a>\n\n{names}: {said}')
    return "\n\n".join(entries)


def _reference(room: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return generated.Writer(LANGUAGES[book.code]["reference"]).room(room)


def _rooms(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return generated.Writer(LANGUAGES[book.code]["reference"]).rooms()


def _works(title: str, options: dict[str, str], body: str, *, page: Page, book: Edition) -> str:
    return generated.bibliography(book.works)


def _folded(title: str, text: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


_DIRECTIVES: dict[str, Callable[..., str]] = {
    "exercise": _exercise, "solution": _solution, "dropdown": _dropdown, "figure": _figure,
    "glossary": _glossary, "grid": _box, "grid-item": _box, "grid-item-card": _card,
    "button-ref": _button, "ledger": _ledger, "reference": _reference, "reference-rooms": _rooms,
    "bibliography": _works,
}  # fmt: skip


# --- notebooks ----------------------------------------------------------------------------------


def prose(notebook: nbformat.NotebookNode, name: str, book: Edition) -> nbformat.NotebookNode:
    """Return a notebook of this file name without Sphinx's markup."""
    cells, page = notebook.cells, book.page(name)
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, page, book)
    for i in reversed([i for i, cell in enumerate(cells) if starts(cell)]):
        label, text = cells[i].id.removesuffix("-start"), cells[i - 1].source
        fold = text.index("<details>", text.index(f'<a id="{label}"></a>'))
        cells[i - 1].source = text[:fold].rstrip()
        cells.insert(i + 1, nbformat.v4.new_markdown_cell(text[fold:], id=f"{label}-folded"))
    for i in reversed([i for i, cell in enumerate(cells) if caption(cell)[0]]):
        said = _caption(*caption(cells[i]), page, book)
        cells.insert(i + 1, nbformat.v4.new_markdown_cell(said, id=f"{cells[i].id}-caption"))
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
