"""The pages of the documentation, as the tests of tests/docs read them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Block(NamedTuple):
    """A block of code."""

    page: str
    line: int
    language: str
    """What stands after the fence; empty for a block that is indented."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Link(NamedTuple):
    """A link or picture."""

    page: str
    target: str


def pages() -> list[str]:
    """README and all pages below docs/ and beside the components, relative to the repository."""
    found = [ROOT / "README.md", *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"), *ROOT.glob("components/*/README.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found if not path.name.startswith("."))


@cache
def text_of(page: str) -> str:
    """A page's Markdown; of a notebook, its cells of text and, fenced, those of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if not page.endswith(".ipynb"):
        return text
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)


@cache
def tokens(page: str) -> tuple[Token, ...]:
    """A page as CommonMark with tables, in order, with what stands inside of a line in its place."""
    parsed = MarkdownIt("commonmark").enable("table").parse(text_of(page))
    return tuple(part for token in parsed for part in (token, *(token.children or ())))


def blocks(page: str) -> Iterator[Block]:
    """All blocks of code, fenced and indented."""
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content)


def links(page: str) -> Iterator[Link]:
    """All links and pictures, those in HTML too."""
    for token in tokens(page):
        if token.type in ("link_open", "image"):
            yield Link(page, str(token.attrs.get("href") or token.attrs.get("src")))
        elif token.type in ("html_block", "html_inline"):
            for target in re.findall(r'(?:href|src|srcset)="([^"]+)"', token.content):
                yield Link(page, target)


def code(page: str) -> Iterator[str]:
    """What is marked as code inside of a line."""
    return (token.content for token in tokens(page) if token.type == "code_inline")


@cache
def headings(page: str) -> tuple[str, ...]:
    """The headings of a page, without marks."""
    found, parts = [], tokens(page)
    for number, token in enumerate(parts):
        if token.type == "heading_open":
            inline = parts[number + 1].children or []
            found.append("".join(part.content for part in inline))
    return tuple(found)


def anchors(page: str) -> set[str]:
    """What a link may name after ``#``: the headings as GitHub writes them, and as Python-Markdown does."""
    found = set()
    for heading in headings(page):
        github = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        found |= {github, site}
    return found
