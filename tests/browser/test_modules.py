"""The page's modules: those of the first sight are asked for at once, and the others only when they are needed."""

import re
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "static" / "js"
STATIC_IMPORT = re.compile(r"^(?:import|export)\b[^;]*?from '\./([\w-]+\.js)';", re.MULTILINE)


def reached(module: str, seen: set[str]) -> set[str]:
    """A module and all that it imports statically."""
    if module not in seen:
        seen.add(module)
        for imported in STATIC_IMPORT.findall((SCRIPTS / module).read_text()):
            reached(imported, seen)
    return seen


def test_all_that_the_page_begins_with_is_preloaded():
    index = (SCRIPTS.parent / "index.html").read_text()
    preloaded = re.findall(r'<link rel="modulepreload" href="/js/([\w-]+\.js)">', index)
    needed = reached("main.js", set()) - {"main.js"}
    assert len(needed) > 50
    # Otherwise each is found only once the one that imports it is there, a round trip at a time.
    assert sorted(preloaded) == sorted(needed)


def test_a_view_is_fetched_when_it_is_opened(open_page, demo):
    page = open_page(demo.url)
    fetched = lambda name: page.evaluate(
        "name => performance.getEntriesByType('resource').some(({ name: url }) => url.endsWith(name))", f"/js/{name}"
    )
    page.locator(".row").first.wait_for()
    assert fetched("trace-view.js") and not fetched("jobs-view.js") and not fetched("compare-view.js")
    page.get_by_role("link", name="Jobs").click()
    page.locator(".jobs-view").wait_for()
    assert fetched("jobs-view.js") and not fetched("compare-view.js")


def test_a_view_that_cannot_be_fetched_is_asked_for_again(open_page, demo):
    page = open_page(demo.url, allow=("Failed to load resource", "net::ERR_FAILED"))
    page.route("**/js/data-view.js", lambda route: route.abort())
    page.get_by_role("link", name="Data").click()
    page.get_by_text("This part of the page could not be fetched").wait_for()
    page.unroute("**/js/data-view.js")
    page.get_by_role("button", name="Try again").click()
    page.locator(".data-table").wait_for()


def test_the_trace_is_asked_for_once_and_before_the_modules(open_page, demo):
    page = open_page(demo.url)
    trace = demo.call("GET", "/v1/traces?limit=1")["data"][0]["id"]
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(demo.url)))
    page.goto(f"{demo.url}/?trace={trace}")
    page.locator("#response .tok").first.wait_for()
    assert asked.count(f"/v1/traces/{trace}") == 1
