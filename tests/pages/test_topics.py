"""The map of topics: its relations have sources that exist, and a name in every language."""

import pytest
from pybtex.database import parse_file

from book import BOOK
from book.tools.languages import LANGUAGES
from lnlib.pages import topics

BIBLIOGRAPHY = parse_file(BOOK / "references.bib").entries


def test_every_source_is_of_a_relation_and_in_the_bibliography():
    relations = {(edge.start, edge.end) for edge in topics.edges("en")}
    assert topics.SOURCES.keys() <= relations
    assert {*topics.SOURCES.values()} <= {*BIBLIOGRAPHY}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_topics_have_one_name(language):
    assert len(topics.places(language)) == len(topics.PLACES)
    assert {*topics.listed(language)} < topics.places(language).keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_language_names_is_on_the_map(language):
    assert topics.NAMES[language].keys() <= topics.PLACES.keys() | topics.RELATIONS.keys()


def test_the_map_speaks_the_languages_of_the_book():
    assert topics.NAMES.keys() == LANGUAGES.keys()
