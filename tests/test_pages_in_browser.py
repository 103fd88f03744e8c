"""The pages of a real run in a real browser: they ask for nothing, complain of nothing, and serve everybody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SERIOUS = ("serious", "critical")  # of axe's minor, moderate, serious and critical
WIDE, NARROW = 1280, 390  # pixels

pytestmark = pytest.mark.timeout(600, func_only=True)  # the run that the pages are of is not this test


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system; without it, or what drives it, the tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright: extra `test`")
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(CHROMIUM)}")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []  # root may not have one
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=alone)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(finished, launch, tmp_path_factory) -> dict[str, Path]:
    """report.html of the tiny run, compare.html of two of its shadows, and inspect.html of its challenge."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(finished, folder)
    options = ("--config.compare.count=24", "--config.compare.references=1")
    for command in (("compare", "--checkpoints=shadows/0000,shadows/0001", *options), ("inspect",)):
        result = launch(*command, f"--workdir={folder}")
        assert result.returncode == 0, result.stderr
    return {name: folder / f"{name}.html" for name in ("report", "compare", "inspect")}


@pytest.mark.parametrize("name", ["report", "compare", "inspect"])
@pytest.mark.parametrize(("scheme", "width"), [("light", WIDE), ("dark", NARROW)])
def test_a_page_asks_for_nothing_and_is_usable(browser, pages, name, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core comes with it: extra `test`")
    # the page's own policy lets no script in, so axe must pass it by; that there is one is asserted below
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    where = pages[name].as_uri()
    page.goto(where)
    for summary in page.query_selector_all("details > summary"):
        summary.click()  # what is folded is looked at, too
    assert [url for url in asked if url != where and not url.startswith("data:")] == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelectorAll('script').length") == 0
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("axe.run()")["violations"]
    named = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]
    assert named == []
    context.close()


@pytest.mark.parametrize("name", ["report", "compare", "inspect"])
def test_a_page_lets_no_script_in_and_is_walked_through_by_keys(browser, pages, name):
    context = browser.new_context(viewport={"width": NARROW, "height": 900})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(pages[name].as_uri())
    assert said == []
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.in = 1'}))"
    )
    assert page.evaluate("window.in") is None
    assert any("Content Security Policy" in line for line in said)
    kinds = set()
    for _ in range(page.locator("a, summary, .scroll").count()):
        page.keyboard.press("Tab")
        kinds.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"A", "scroll"} <= kinds
    context.close()
