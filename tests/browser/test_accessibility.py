"""For assistive tools: axe-core on every view, light and dark, wide and narrow; the main flow by keys alone; less motion."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from test_layout import PHONE

AXE = Axe()
# What WCAG 2.2 asks for at AA, and axe's good practices.
OPTIONS = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def stored(demo):
    """A wrong response with searches and rollouts, the same tokens by other models, and another response."""
    [row] = demo.call("GET", "/v1/traces?q=Mia%20has%2026%20pens&verdict=wrong")["data"]
    wrong = demo.call("GET", f"/v1/traces/{row['id']}")
    answer = wrong["verdict"]["reference"]
    again = demo.call(
        "POST",
        "/v1/score",
        {
            "prompt_token_ids": wrong["prompt"]["token_ids"],
            "response_token_ids": [token["id"] for token in wrong["tokens"]],
            "answer": answer,
            "top_logprobs": 5,
            "models": {"positive": "cdpo", "negative": "negative"},
        },
    )
    other = demo.score(wrong["prompt"]["text"], "Eva: 26 - 18 = 8. 26 + 8 = 34. #### 34", answer=answer)
    yield {"wrong": wrong["id"], "again": again["id"], "other": other["id"]}
    for made in (again, other):
        demo.call("DELETE", f"/v1/traces/{made['id']}")


# A view's address, and what is there once it is filled.
SIGHTS = {
    "list": ("/", "#side .rows a"),
    "filters": ("/?verdict=wrong&tag=demo", "#side .rows a"),
    "trace": ("/?trace={wrong}", "#response .tok"),
    "token": ("/?trace={wrong}&token=4", ".tok.chosen"),
    "token with alternatives": ("/?trace={again}&token=4&threshold=0.5", ".tok.chosen"),
    "success": ("/?trace={wrong}&measure=success", "#response .tok"),
    "score": ("/?view=new", "#score-form"),
    "compare": ("/?view=compare", ".main .state"),
    "compare, proposals": ("/?view=compare&trace={wrong}", ".proposal"),
    "compare, difference": ("/?view=compare&trace={wrong}&with={again}&token=4", ".tok.chosen"),
    "compare, both": ("/?view=compare&trace={wrong}&with={again}&look=both", "#response-a .tok"),
    "compare, responses": ("/?view=compare&trace={wrong}&with={other}", "#response-b .tok"),
    "jobs": ("/?view=jobs", "main h1"),
    "job form": ("/?view=jobs&job=new", "main form"),
    "data": ("/?view=data", "main h1"),
    "models": ("/?view=models", ".models-table"),
}


def grave(page, rules: list[str] | None = None) -> list[str]:
    """The violations that keep somebody out, each with where it is."""
    options = OPTIONS | ({"runOnly": rules} if rules else {})
    found = AXE.run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {one['help']} at {', '.join(str(node['target']) for node in one['nodes'][:4])}"
        for one in found
        if one["impact"] in GRAVE
    ]


def checked(page) -> None:
    page.emulate_media(color_scheme="light")
    assert grave(page) == []
    # The theme changes colours and nothing else.
    page.emulate_media(color_scheme="dark")
    assert grave(page, ["color-contrast", "link-in-text-block"]) == [], "dark"


@pytest.fixture(scope="module")
def sights(chromium):
    """A page a size for all sights: what one has fetched serves the next."""
    pages = {}
    for size, options in {"desktop": {"viewport": {"width": 1400, "height": 900}}, "phone": PHONE}.items():
        pages[size] = chromium.new_context(**options).new_page()
    yield pages
    for page in pages.values():
        page.context.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_no_view_has_grave_violations(sights, demo, stored, sight, size):
    address, filled = SIGHTS[sight]
    page = sights[size]
    page.goto(demo.url + address.format(**stored))
    # On a phone some of it is out of sight: that it is there is enough.
    expect(page.locator(filled).first).to_be_attached()
    expect(page.locator(".state .pulse:visible")).to_have_count(0)
    checked(page)


DIALOGS = {
    "help": lambda page: page.keyboard.press("?"),
    "palette": lambda page: page.keyboard.press("Control+k"),
    "export menu": lambda page: page.get_by_role("button", name="Export").click(),
    "filter fields": lambda page: page.get_by_role("button", name=re.compile("^Filter")).click(),
    "selection": lambda page: page.locator("#select-button").click(),
}


@pytest.mark.parametrize("dialog", DIALOGS)
def test_no_dialog_has_grave_violations(open_page, demo, stored, dialog):
    page = open_page(f"{demo.url}/?trace={stored['wrong']}")
    expect(page.locator("#response .tok").first).to_be_visible()
    DIALOGS[dialog](page)
    if dialog == "palette":
        expect(page.locator("dialog [role=option]").first).to_be_visible()
    checked(page)


def test_the_choice_of_a_trace_and_the_way_back_have_none(open_page, demo, stored):
    page = open_page(f"{demo.url}/?view=compare&trace={stored['wrong']}")
    page.get_by_role("button", name="Choose trace B").click()
    expect(page.locator("dialog [role=option]").first).to_be_visible()
    checked(page)
    page.keyboard.press("Escape")
    page.goto(f"{demo.url}/?trace={stored['wrong']}")
    page.locator("#delete-trace").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    checked(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#response .tok").first).to_be_visible()


def tab_to(page, name: str, most: int = 80) -> None:
    """Walks by Tab until the element with this accessible name has the focus."""
    told = (
        "() => { const one = document.activeElement; return one.getAttribute('aria-label') || one.labels?.[0]?.textContent"
        " || one.textContent.trim() || one.id; }"
    )
    seen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(told))
        if re.search(name, seen[-1] or ""):
            return
    raise AssertionError(f"{name} is not reached: {seen}")


def test_the_main_flow_by_keys_alone(open_page, demo):
    known = demo.call("GET", "/v1/traces?q=Mia%20has%2026&limit=1")["total"]
    page = open_page(demo.url)
    expect(page.locator("#side .rows a").first).to_be_visible()
    # The way over what stands above.
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the main part")).to_be_focused()
    # Find a wrong one by typing.
    page.keyboard.press("/")
    page.keyboard.type("Mia has 26")
    total = page.locator("#list-total")
    expect(total).to_have_text(re.compile(f"^{known} traces?$"))
    tab_to(page, "Eva: 26")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.locator("#response .tok").first).to_be_visible()
    # To what is flagged, and on from there by arrows.
    page.keyboard.press("j")
    expect(page.locator(".tok.chosen")).to_have_id("t4")
    # Out of the list: Enter is for the token now.
    expect(page.locator("#response")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tok.chosen")).to_have_id("t5")
    expect(page.locator("#panel h2").first).to_contain_text("Token 5")
    # Another measure through the palette.
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Go to")
    page.keyboard.type("base entropy")
    expect(palette.get_by_role("option")).to_have_text(["Colour by base entropy"])
    page.keyboard.press("Enter")
    expect(page.locator("#measure")).to_have_value("entropy")
    # Compare it with itself by other models.
    page.keyboard.press("c")
    expect(page.locator("#again-positive")).to_have_value("cdpo")
    tab_to(page, "^Score and compare$")
    page.keyboard.press("Enter")
    expect(page.locator(".compare-summary")).to_contain_text("The same 39 tokens")
    page.keyboard.press("j")
    made = re.search(r"with=(trace_\w+)", page.url)[1]
    # Back to the list, and away with what was made, with a way back.
    page.keyboard.press("Control+k")
    page.keyboard.type("traces")
    page.keyboard.press("Enter")
    expect(total).to_have_text(f"{known + 1} traces")
    tab_to(page, "Eva: 26")
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    expect(total).to_have_text(re.compile(f"^{known} traces?$"))
    page.keyboard.press("Control+z")
    expect(total).to_have_text(f"{known + 1} traces")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Reading a trace")).to_be_visible()
    page.keyboard.press("Escape")
    demo.call("DELETE", f"/v1/traces/{made}")


def test_the_palette_finds_traces_and_views(open_page, demo):
    page = open_page(f"{demo.url}/?view=models")
    page.get_by_role("button", name="Go to anything").click()
    options = page.get_by_role("dialog", name="Go to").get_by_role("option")
    expect(options.first).to_have_text("Traces")
    expect(page.get_by_role("group", name="Newest traces").get_by_role("option")).to_have_count(8)
    page.keyboard.type("16 stamps")
    expect(options.first).to_contain_text("16 stamps")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt-text")).to_contain_text("16 stamps")
    page.keyboard.press("Control+k")
    page.keyboard.type("dark")
    expect(options).to_have_count(1)
    options.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("Control+k")
    page.keyboard.type("nothing of this name")
    expect(page.get_by_role("dialog", name="Go to").get_by_role("status")).to_have_text("Nothing is found.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_nothing_moves_for_those_who_asked_for_less_motion(open_page, demo, stored):
    page = open_page(f"{demo.url}/?trace={stored['wrong']}", reduced_motion="reduce")
    expect(page.locator("#response .tok").first).to_be_visible()
    moving = """() => [...document.querySelectorAll('*')].filter((one) => {
      const { animationName, transitionDuration } = getComputedStyle(one);
      return animationName !== 'none' || transitionDuration.split(',').some((part) => parseFloat(part) > 0);
    }).map((one) => one.className)"""
    assert page.evaluate(moving) == []
    assert page.evaluate("document.getAnimations().length") == 0
