"""Every relative link in the documents leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "docs", "docs/guide", "docs/history")
LINK = re.compile(r"\]\(([^()\s]+)\)")


def prose(path: Path) -> str:
    """The text without blocks of code, in which a bracket is no link."""
    return re.sub(r"(?ms)^```.*?^```", "", path.read_text())


def anchors(path: Path) -> set[str]:
    """The anchors of the headings, as GitHub names them: twice the same name gets a number."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"(?m)^#+ +(.+?) *$", prose(path)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def broken(path: Path) -> list[str]:
    """What is wrong with the relative links of a page, a line each."""
    wrong = []
    for link in LINK.findall(prose(path)):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists():
            wrong.append(f"{path.name}: {link}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{path.name}: {link}: no such heading")
    return wrong


def test_every_link_leads_somewhere():
    pages = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
    assert {"README.md", "CONTRIBUTING.md", "method.md", "own_data.md"} <= {page.name for page in pages}
    assert [line for page in pages for line in broken(page)] == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "b.md").write_text("# One: of `two`\n# Same\n# Same\n```\n[code](nowhere)\n# no heading\n```\n")
    links = ("b.md", "b.md#one-of-two", "b.md#same-1", "#here", "https://x.org/y", "c.md", "b.md#no-heading", "#gone")
    page = tmp_path / "a.md"
    page.write_text("# Here\n" + "".join(f"[x]({link})\n" for link in links))
    assert broken(page) == [
        "a.md: c.md: no such file",
        "a.md: b.md#no-heading: no such heading",
        "a.md: #gone: no such heading",
    ]
