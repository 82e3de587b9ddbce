"""Sphinx extension: exercises with a level, and their solutions, folded, where they are set.

An exercise says `:class: level-2` and shows ★★☆ beside its title. Its solution is written once, on
the page of solutions, with the code below it; sphinx-exercise has no way to show it elsewhere.
"""

from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import takewhile
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata
from sphinx_exercise.nodes import is_exercise_node, is_solution_node

from book.tools.languages import LANGUAGES
from book.tools.reading import stars

LEVELS = {f"level-{level}": level for level in (1, 2, 3)}
START = "tag_start"  # of the cell to start from, below an exercise


@cache
def solutions(env: BuildEnvironment, page: str) -> dict[str, list[nodes.Element]]:
    """Return what solves each exercise on a page of solutions: the text, and the cells below it."""
    found = {}
    for solution in env.get_doctree(page).findall(is_solution_node):
        rest = solution.parent[solution.parent.index(solution) + 1 :]
        below = takewhile(lambda node: "cell" in node.get("classes", ()), rest)
        _, *content = solution
        found[solution["target_label"]] = [*content, *below]
    return found


def pages_of_solutions(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """Return for each exercise the page and the label of its solution."""
    registry: dict[str, dict[str, Any]] = getattr(env, "sphinx_exercise_registry", {})
    return {
        entry["node"]["target_label"]: (entry["docname"], label)
        for label, entry in registry.items()
        if entry["type"] == "solution"
    }


class FoldSolutions(SphinxPostTransform):
    """Put a copy of its solution below each exercise, before myst-nb chooses among outputs."""

    default_priority = 3
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the page."""
        where = pages_of_solutions(self.env)
        words = LANGUAGES[self.config.language]["exercises"]
        for exercise in [*self.document.findall(is_exercise_node)]:
            if exercise["label"] in where:
                page, label = where[exercise["label"]]
                uri = self.app.builder.get_relative_uri(self.env.docname, page)
                link = nodes.reference("", words["run"], internal=True, refuri=f"{uri}#{label}")
                below = exercise.parent.index(exercise) + 1
                below += any(
                    START in node["classes"] for node in exercise.parent[below : below + 1]
                )
                exercise.parent.insert(
                    below,
                    [
                        nodes.raw("", _opening(words["solution"]), format="html"),
                        *_copies(solutions(self.env, page)[exercise["label"]]),
                        nodes.paragraph("", "", link),
                        nodes.raw("", "</details>", format="html"),
                    ],
                )


def _opening(name: str) -> str:
    return f'<details class="solved"><summary>{escape(name)}</summary>'


def _copies(parts: list[nodes.Element]) -> Iterator[nodes.Element]:
    """Copy parts of a page; their ids stay there, but for those of figures, which need one."""
    for part in parts:
        copied = part.deepcopy()
        for element in copied.findall(nodes.Element):
            if not isinstance(element, nodes.figure):
                element["ids"] = []
        yield copied


class NameLevels(SphinxPostTransform):
    """Show an exercise's level beside its title, which sphinx-exercise has written by now."""

    default_priority = 30
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the page."""
        words = LANGUAGES[self.config.language]["exercises"]
        for exercise in self.document.findall(is_exercise_node):
            for level in (LEVELS[name] for name in exercise["classes"] if name in LEVELS):
                name = escape(words["level"].format(level))
                mark = f'<span class="level" role="img" aria-label="{name}">{stars(level)}</span>'
                exercise[0] += [nodes.Text(" "), nodes.raw("", mark, format="html")]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_post_transform(FoldSolutions)
    app.add_post_transform(NameLevels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
