"""Every code block of the README and of docs/ that can be run is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import greenroom
from tests.docs.blocks import blocks, matches, opened, typed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def has_nc() -> bool:
    """netcat-openbsd: the other one knows no Unix sockets."""
    if shutil.which("nc") is None:
        return False
    said = subprocess.run(["nc", "-h"], capture_output=True, text=True, check=False)
    return "-U" in said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_do_what_it_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    if "| nc " in text and not has_nc():
        pytest.skip("netcat-openbsd is not here")
    if "$ curl " in text and shutil.which("curl") is None:
        pytest.skip("curl is not here")
    with opened(monkeypatch.chdir) as page:
        for block in blocks(text):
            try:
                page.run(block)
            except BaseException as error:
                error.add_note(f"{path.name}:{block.line}")
                raise


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_links_of_a_page_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_is_in_the_list_of_pages() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in found and page.suffix == ".md":
            found.add(page)
            targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
            ahead += [page.parent / target for target in targets]
    everything = {ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md", *PAGES}
    assert {page.resolve() for page in everything} <= found


def test_every_link_to_a_chapter_names_one_that_is_there() -> None:
    for path in PAGES:
        for target, chapter in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text("utf-8")):
            there = (path.parent / target if target else path).read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.+)$", there, re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert chapter in slugs, f"{path.name}: {target}#{chapter}"


def test_every_public_name_is_on_a_page() -> None:
    """As itself; an error by its code, in which its class is told too."""
    text = "\n".join(path.read_text("utf-8") for path in PAGES)
    known = set(re.findall(r"\w+", text))
    unknown = [getattr(greenroom, name) for name in greenroom.__all__ if name not in known]
    assert [one for one in unknown if getattr(one, "code", None) not in known] == []


def test_no_page_is_unfinished() -> None:
    for path in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bTODO\b|\bFIXME\b", text), path.name


# -- the reader itself --------------------------------------------------------------------------


def test_a_console_block_is_commands_with_their_output() -> None:
    found = list(typed("$ one \\\n  more\nout\n$ two\n"))
    assert [tuple(one) for one in found] == [("one \\\n  more", "out"), ("two", "")]


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("a  b", "a b\n", True),
        ("a … c", "a b c", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a", "a\nb", False),
        ("a b", "a c", False),
        ("", "a", False),
        ("", "", True),
    ],
)
def test_output_is_compared_word_by_word(expected: str, output: str, same: bool) -> None:
    assert matches(expected, output) is same
