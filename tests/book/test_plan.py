"""The plan of the book: every page a station, every path a line that stops where it should."""

import re
from itertools import pairwise, permutations

import pytest
from bs4 import BeautifulSoup

from book.tools import plan
from book.tools.configuration import contents
from book.tools.languages import LANGUAGES
from book.tools.numbers import numbers

STEMS = [stem for stem in contents() if stem[0].isdigit()]
NUMBERS = numbers(STEMS)
PAGES = [plan.Page(f"{stem}.html", NUMBERS.get(stem, ""), stem[:12]) for stem in STEMS]
PATHS = [
    plan.Path("Reader", tuple(page.file for page in PAGES[:5])),
    plan.Path("Hiker", tuple(page.file for page in (PAGES[-2], PAGES[4], PAGES[3], PAGES[12]))),
    plan.Path("Author", tuple(page.file for page in (PAGES[2], PAGES[9], PAGES[10]))),
]


@pytest.fixture(scope="module", params=LANGUAGES)
def plans(request):
    drawn = plan.draw(PAGES, PATHS, LANGUAGES[request.param]["map"])
    return BeautifulSoup(drawn, "html.parser").find_all("svg")


def test_every_page_of_the_chapters_is_a_station_of_both_plans(plans):
    assert len(plans) == 2
    for drawn in plans:
        links = drawn.find_all("a")
        assert [link["href"] for link in links] == [page.file for page in PAGES]
        names = [" ".join(link.get_text().split()) for link in links]
        assert names == [f"{page.number} {page.name}".strip() for page in PAGES]


def test_both_plans_have_a_name_and_tell_the_paths(plans):
    for drawn in plans:
        title, description = drawn.find("title"), drawn.find("desc")
        assert (title["id"], description["id"]) == (
            drawn["aria-labelledby"],
            drawn["aria-describedby"],
        )
        assert title.get_text()
        assert all(f"{path.name}: " in description.get_text() for path in PATHS)


def test_both_plans_number_the_stops_of_each_path(plans):
    stops = [f"{path.name[0]}{n + 1}" for path in PATHS for n in range(len(path.stops))]
    for drawn in plans:
        tags = [tag.get_text() for tag in drawn.select(".stop")]
        assert sorted(tag for tag in tags if len(tag) > 1) == sorted(stops)
        assert [tag for tag in tags if len(tag) == 1] == [path.name[0] for path in PATHS]
        assert len(drawn.find_all("path")) == len(PATHS)


@pytest.mark.parametrize("places", permutations((0, 3, 8, 14, 30), 3))
def test_lines_run_upright_or_level_through_all_their_stops(places):
    path = plan.Path("Reader", tuple(PAGES[place].file for place in places))
    wide = plan.Wide(plan.chapters(PAGES), [path])
    at = {station.page.file: station for station in wide.stations}
    points = wide._line([at[stop] for stop in path.stops], 0)
    assert {(at[stop].x, at[stop].y) for stop in path.stops} <= {*points}
    for (x0, y0), (x1, y1) in pairwise(points):
        assert (x0 == x1) != (y0 == y1)
    ends = [[*map(float, end)] for end in re.findall(r"(-?[\d.]+) (-?[\d.]+)", wide.lines[0])]
    assert all(0 <= x <= wide.width and 0 <= y <= wide.height for x, y in ends)


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_names_are_those_of_pages(language):
    assert {*LANGUAGES[language]["map"]["names"]} <= {*STEMS}
