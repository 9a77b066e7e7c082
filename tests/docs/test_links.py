"""Every link of the documentation leads somewhere, and so does what code, configurations and manifests say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import DOCS, ROOT, anchors, code, headings, links, pages, text_of

ELSEWHERE = re.compile(r"[a-z]+:|//")
SPOKEN = re.compile(r"(?:docs/)?\b([a-z-]+\.md)(?:, ([A-Z][A-Za-z -]*[a-z]))?")
"""A page as comments and messages name it: ``docs/operations.md, Run``, within the docs ``method.md``."""
OTHERS = {"card.md", "table.md"}
"""What is no page: written beside a model, and by a study."""


def inside() -> Iterator[tuple[str, str]]:
    return ((link.page, link.target) for page in pages() for link in links(page) if not ELSEWHERE.match(link.target))


def test_no_page_is_linked_to_that_is_not_there() -> None:
    lost = []
    for page, target in inside():
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.is_file() and not target.startswith("https://"):
            lost.append(f"{page}: {target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(str(file.resolve().relative_to(ROOT))):
            lost.append(f"{page}: {target}: no such heading")
    assert lost == []


def test_nothing_outside_of_the_documentation_is_needed_to_read_it() -> None:
    outside = [(page, link.target) for page in pages() for link in links(page) if re.match(r"https?:|//", link.target)]
    assert [where for where in outside if where[1].endswith((".js", ".css", ".svg", ".png", ".woff2"))] == []


def spoken() -> Iterator[tuple[str, str, str]]:
    """Where a page is named in code, configurations and manifests; the page; and its heading, if one is named."""
    for folder, ends in {
        "src": ("py",),
        "components": ("py",),
        "pipelines": ("py",),
        "configs": ("yaml",),
        "manifests": ("yaml", "py"),
    }.items():
        for file in (f for end in ends for f in (ROOT / folder).rglob(f"*.{end}")):
            for match in SPOKEN.finditer(re.sub(r"\s*\n\s*#?\s*", " ", file.read_text(encoding="utf-8"))):
                if match[1] not in OTHERS and "schemas" not in file.parts:
                    yield str(file.relative_to(ROOT)), match[1], match[2] or ""


def test_pages_and_headings_that_the_code_names_are_there() -> None:
    lost = []
    for where, page, heading in spoken():
        if not (DOCS / page).is_file():
            lost.append(f"{where}: no {page}")
        elif heading and not any(told.startswith(heading.split(",")[0]) for told in headings(f"docs/{page}")):
            lost.append(f"{where}: {page} has no {heading!r}")
    assert lost == []


@pytest.mark.parametrize("page", pages())
def test_files_that_a_page_names_are_there(page: str) -> None:
    names = {text for text in code(page) if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|yaml|sh|csv)", text)}
    roots = [ROOT, ROOT / "src" / "selfemo", DOCS]
    made = ("/config.yaml", "docs/tutorial/anfragen.yaml")
    assert [n for n in names if not any((root / n).is_file() for root in roots) and n not in made] == []


def test_placeholders_are_filled_in() -> None:
    assert [page for page in pages() if re.search(r"@@\w+@@|\bTODO\b|\bTBD\b", text_of(page))] == []
