"""Links in the documentation lead somewhere."""

from __future__ import annotations

from tests.docs.pages import ROOT, Page, pages

MAX_PICTURE_BYTES = 200_000


def test_every_relative_link_and_anchor_resolves() -> None:
    broken = []
    for page in pages():
        for link in page.links:
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.path.parent / name) if name else page.path
            if not target.exists():
                broken.append(f"{page.path.name}: {link}: no such file")
            elif anchor and anchor not in Page(target).anchors:
                broken.append(f"{page.path.name}: {link}: no such heading")

    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        path = queue.pop().resolve()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = (link.partition("#")[0] for link in Page(path).links if "://" not in link)
        queue += [path.parent / link for link in links if link]

    assert {page.path for page in pages()} == reached


def test_the_picture_of_the_report_is_small() -> None:
    picture = ROOT / "docs" / "report.png"

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < MAX_PICTURE_BYTES
