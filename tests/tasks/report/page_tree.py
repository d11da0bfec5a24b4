"""An HTML page as a tree of elements, for asking what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                named = {name.rstrip("_"): value for name, value in attributes.items()}
                if child.tag == tag and named.items() <= child.attributes.items():
                    yield child
                yield from child.all(tag, **attributes)

    def text(self) -> str:
        parts = (c if isinstance(c, str) else c.text() for c in self.children)
        return re.sub(r"\s+", " ", "".join(parts)).strip()


class Tree(HTMLParser):
    """The page as a tree; a tag that is not closed where it should be is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(page)
        self.close()
        assert self._open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
