"""The terms of the glossary, and where a text uses them, in every inflection."""

import re
from collections.abc import Iterator

Terms = dict[str, str]  # each term, and the id of its definition


def pattern(terms: Terms, endings: str) -> re.Pattern[str]:
    """Match any of the terms as a whole word, the longest first, its first letter in any case.

    Args:
        terms: what to match.
        endings: a pattern of what may follow a term.

    >>> pattern({"batch normalization": "", "LN": ""}, "s").findall("Batch normalization, LNs")
    [('Batch normalization', ''), ('LN', 's')]
    >>> pattern({"LN": ""}, "s").findall("an LN-net")
    []
    """
    longest_first = sorted(terms, key=len, reverse=True)
    words = (f"(?i:{re.escape(t[0])}){re.escape(t[1:])}" for t in longest_first)
    return re.compile(rf"(?<![\w-])({'|'.join(words)})((?:{endings})?)(?![\w-])")


class Finder:
    """Finds where texts use the terms of a glossary.

    Args:
        terms: each with the id of its definition.
        endings: a pattern of what may follow a term.

    >>> finder = Finder({"LN": "term-ln"}, "s")
    >>> [match.start() for match, _ in finder.first_uses("An LN, LNs", set())]
    [3]
    """

    def __init__(self, terms: Terms, endings: str) -> None:
        """Prepare the search."""
        self.words = pattern(terms, endings)
        self.targets = {term.casefold(): at for term, at in terms.items()}

    def first_uses(self, text: str, used: set[str]) -> Iterator[tuple[re.Match[str], str]]:
        """Yield where a text uses a term for the first time, and the id of its definition.

        Args:
            text: what is searched.
            used: the ids of what needs no link any more; gets those that are found.
        """
        for match in self.words.finditer(text):
            at = self.targets[match[1].casefold()]
            if at not in used:
                used.add(at)
                yield match, at
