"""Tags and attributes that a page is known to have: looked up with an error if it has not."""

from bs4 import Tag


def first(scope: Tag, selector: str) -> Tag:
    """Return the first tag that a selector chooses.

    Raises:
        LookupError: if it chooses none, as when a theme writes a page in another way.
    """
    found = scope.select_one(selector)
    if found is None:
        raise LookupError(f"expected a tag {selector} in <{scope.name}>, found none")
    return found


def value(tag: Tag, attribute: str) -> str:
    """Return an attribute that has one value."""
    return str(tag[attribute])


def classes(tag: Tag) -> list[str]:
    """Return the classes of a tag.

    >>> from bs4 import BeautifulSoup
    >>> classes(BeautifulSoup('<p class="a b"></p>', "html.parser").p)
    ['a', 'b']
    """
    return tag.get_attribute_list("class") if tag.has_attr("class") else []
