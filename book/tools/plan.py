"""The chapters as a plan: each page is a station, and the paths are lines that stop there.

A wide plan has a row for each chapter, a narrow one a row for each page; the style sheet shows
what fits. Where a line bends follows from the stops alone, so no place is written down.
"""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path as File
from typing import Any

from jinja2 import Environment, FileSystemLoader

HERE = File(__file__).resolve().parent
TEMPLATE = "plan.svg"
LINES = ("line-0", "line-1", "line-2")  # classes, one for each path
BEND = 9  # radius
SHIFT = 5  # between lines that run side by side
Point = tuple[float, float]


@dataclass(frozen=True)
class Page:
    """A page of the plan.

    Args:
        file: its name.
        number: of the chapter or of a page in it; empty for a page without one.
        name: a short one.
    """

    file: str
    number: str
    name: str


@dataclass(frozen=True)
class Path:
    """A path through the book.

    Args:
        name: who takes it.
        stops: the files of its pages, in order.
    """

    name: str
    stops: tuple[str, ...]


@dataclass(frozen=True)
class Tag:
    """Says beside a station which stop of which line it is."""

    text: str
    line: int
    x: float
    y: float


@dataclass(frozen=True)
class Station:
    """A page at its place.

    Args:
        page: what it leads to.
        row: of a chapter, from above.
        column: 0 for the chapter's first page.
        x: of its middle, or of where lines pass a chapter's.
        y: of its middle.
        label: the page's name in lines.
    """

    page: Page
    row: int
    column: int
    x: float
    y: float
    label: tuple[str, ...]


def draw(pages: Iterable[Page], paths: list[Path], words: dict[str, Any]) -> str:
    """Return both plans as SVG.

    Args:
        pages: in reading order.
        paths: through them.
        words: `title` and `description` of the plan, with a place for the paths.
    """
    parts = chapters(pages)
    names = {page.file: page.name for part in parts for page in part}
    told = "; ".join(f"{p.name}: {', '.join(names[stop] for stop in p.stops)}" for p in paths)
    template = Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template(TEMPLATE)
    return template.render(
        classes=LINES,
        plans=[Wide(parts, paths), Narrow(parts, paths)],
        legend=[(path.name[0], path.name) for path in paths],
        title=words["title"],
        description=words["description"].format(told),
    )


def chapters(pages: Iterable[Page]) -> list[list[Page]]:
    """Return the pages chapter by chapter."""
    return [[*group] for _, group in groupby(pages, lambda page: page.number.partition(".")[0])]


class Wide:
    """A row for each chapter: lines run between the columns and above the stations."""

    name = "wide"
    width = 790
    first, column, row, above = 235, 99, 84, 30
    chapter = (0, -16, 172, 32)
    station = (-20, -12, 40, 24)
    corners = ((25, -13), (-25, -13), (25, 13))
    legend = tuple((235 + 198 * place, 22) for place in range(3))

    def __init__(self, chapters: list[list[Page]], paths: list[Path]) -> None:
        """Place the stations and lay the lines."""
        self.stations = [
            Station(
                page,
                row,
                column,
                self.first + self.column * (column - 1) if column else 34,
                22 + self.row * row,
                tuple(textwrap.wrap(page.name, 15)) if column else (page.name,),
            )
            for row, chapter in enumerate(chapters)
            for column, page in enumerate(chapter)
        ]
        self.height = max(s.y for s in self.stations) + 28
        self.branches = [*self._branches()]
        at = {station.page.file: station for station in self.stations}
        self.lines = [
            rounded(self._line([at[stop] for stop in path.stops], SHIFT * (place - 1)))
            for place, path in enumerate(paths)
        ]
        self.tags = [*self._tags(paths)]

    def _branches(self) -> Iterator[tuple[Point, Point]]:
        heads = [s for s in self.stations if not s.column]
        yield (heads[0].x, heads[0].y), (heads[-1].x, heads[-1].y)
        for head in heads:
            last = [s for s in self.stations if s.row == head.row][-1]
            yield (head.x, head.y), (last.x, last.y)

    def _line(self, stops: list[Station], shift: float) -> list[Point]:
        points: list[Point] = [(stops[0].x, stops[0].y)]
        side = 1
        for start, stop in pairwise(stops):
            bends, side = self._leg(start, stop, side)
            points += [*bends, (stop.x, stop.y)]
        return [(x + shift, y + shift) for x, y in points]

    def _leg(self, start: Station, stop: Station, side: int) -> tuple[list[Point], int]:
        """Return where a line bends between two stops, and on which side it goes on.

        Args:
            start: the one stop.
            stop: the next.
            side: on which a line may leave the first, 1 for the right and -1 for the left.
        """
        half = self.column / 2
        if start.row == stop.row and abs(start.column - stop.column) == 1:
            return [], 1 if stop.x > start.x else -1
        if start.column == stop.column == 0 and abs(start.row - stop.row) == 1:
            return [], 1
        if stop.row < start.row:  # up and into the side that is nearer
            side = 1 if start.x >= stop.x or not stop.column else -1
            beside = stop.x + side * half if stop.column else self.first - half
            over = start.y - self.above
            return [(start.x, over), (beside, over), (beside, stop.y)], -side
        beside = start.x + side * half if start.column else self.first - half
        over = stop.y - self.above
        return [(beside, start.y), (beside, over), (stop.x, over)], 1

    def _tags(self, paths: list[Path]) -> Iterator[Tag]:
        for station in self.stations:
            stops = halts(paths, station.page.file)
            for place, (line, path, order) in enumerate(stops):
                dx, dy = self.corners[place] if station.column else (120 - 26 * place, 0)
                yield Tag(f"{path.name[0]}{order}", line, station.x + dx, station.y + dy)


class Narrow:
    """A row for each page: each line runs straight down in a lane of its own."""

    name = "narrow"
    width = 360
    lane, text = 28, 96
    chapter = (0, -15, 263, 30)
    station = (0, -12, 40, 24)

    def __init__(self, chapters: list[list[Page]], paths: list[Path]) -> None:
        """Place the stations and lay the lines."""
        widths = (46 + 7.2 * len(path.name) for path in paths)
        self.legend = [(12 + x, 14) for x in accumulate(widths, initial=0)]
        self.stations, y = [], 20.0
        for row, chapter in enumerate(chapters):
            y += 10
            for column, page in enumerate(chapter):
                y += 30
                self.stations.append(Station(page, row, column, self.text, y, (page.name,)))
        self.height = y + 18
        self.branches = [
            ((self.text + 20, group[0].y), (self.text + 20, group[-1].y))
            for _, rows in groupby(self.stations, lambda s: s.row)
            for group in [[*rows]]
        ]
        self.tags = [
            Tag(f"{path.name[0]}{order}", line, 16 + self.lane * line, station.y)
            for station in self.stations
            for line, path, order in halts(paths, station.page.file)
        ]
        stops = [[(t.x, t.y) for t in self.tags if t.line == line] for line in range(len(paths))]
        self.lines = [rounded([points[0], points[-1]]) for points in stops]


def halts(paths: list[Path], file: str) -> Iterator[tuple[int, Path, int]]:
    """Yield the paths that stop at a page, each with its place and the stop's, counted from 1."""
    for line, path in enumerate(paths):
        if file in path.stops:
            yield line, path, path.stops.index(file) + 1


def rounded(points: list[Point]) -> str:
    """Return an SVG path through points that bends softly.

    >>> rounded([(0, 0), (0, 40), (40, 40)])
    'M0 0L0 31Q0 40 9 40L40 40'
    """
    (x, y), *_ = points
    parts = [f"M{x:g} {y:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x0, y0), (x1, y1) = toward(corner, before), toward(corner, after)
        parts.append(f"L{x0:g} {y0:g}Q{corner[0]:g} {corner[1]:g} {x1:g} {y1:g}")
    x, y = points[-1]
    return "".join([*parts, f"L{x:g} {y:g}"])


def toward(corner: Point, end: Point) -> Point:
    """Return the point where a bend at a corner ends on the way to another point."""
    (x, y), (to_x, to_y) = corner, end
    length = abs(to_x - x) + abs(to_y - y)  # lines run upright or level
    share = min(BEND, length / 2) / length
    return x + share * (to_x - x), y + share * (to_y - y)
