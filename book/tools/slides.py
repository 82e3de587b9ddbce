"""Write all figures of the built site as slides, under their headings, with what one sees."""

from collections.abc import Iterator
from copy import copy
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from book.tools.citation import WHOLE
from book.tools.configuration import BUILD, SLIDES, configuration, contents
from book.tools.languages import LANGUAGES
from book.tools.pdf import article, document, print_editions
from book.tools.soup import first, value

FOLDER = BUILD / "slides"
SIZE = ("297", "167", "10")  # width, height, margin in mm: 16 to 9
FIGURES = ".cell_output img, figure img"
STYLE = """
body { background: #fff; padding: 0; }
article { break-after: page; display: flex; flex-direction: column; gap: 3mm; height: 146mm; }
article > h2 { font-size: 20pt; margin: 0; }
article > p { font-size: 14pt; line-height: 1.35; margin: 0; }
article > img { flex: 1; min-height: 0; object-fit: contain; width: 100% !important; }
article.page { justify-content: center; }
article.page > h1 { font-size: 30pt; }
article.page > p { font-size: 18pt; }
article > p.source { color: #555; font-size: 9pt; }
"""


def slides(site: Path, page: str) -> Iterator[str]:
    """Yield the slides of a page: its title and question, then each figure."""
    text = article(site, page)
    figures = text.select(FIGURES)
    if not figures:
        return
    for link in text.select("a"):  # to pages that are not among the slides
        link.unwrap()
    title = first(text, "h1")
    question = text.select_one("h1 ~ p:has(> strong:only-child)")
    if page != WHOLE:  # it has the title of all
        yield f'<article class="page">{title}{question or ""}</article>'
    for figure in figures:
        heading = copy(figure.find_previous(["h1", "h2", "h3"]) or title)
        heading.name = "h2"
        seen = f"<p>{what_one_sees(figure)}</p>"
        source = f'<p class="source">{title.get_text()}</p>'
        yield f"<article>{heading}{figure}{seen}{source}</article>"


def what_one_sees(figure: Tag) -> str:
    """Return the caption of a figure, or its description."""
    frame = figure.find_parent("figure")
    caption = frame.select_one(".caption-text") if frame else None
    return caption.decode_contents() if caption else value(figure, "alt")


def deck(site: Path, edition: str) -> BeautifulSoup:
    """Return the slides of an edition as one page."""
    settings = configuration(edition)
    shown = "".join(slide for page in contents() for slide in slides(site, page))
    return document(
        site,
        edition,
        STYLE,
        '<body class="bd-content"><article class="page">'
        f"<h1>{settings['title']}: {LANGUAGES[edition]['tagline']}</h1>"
        f"<p>{settings['copyright']}</p></article>{shown}</body>",
    )


def main() -> None:
    """Write the slides of all editions."""
    print_editions(FOLDER, SLIDES, deck, SIZE)


if __name__ == "__main__":
    main()
