"""The stored traces: rows in a window, filters, order, keys, selection, delete with undo, import."""

import json
import re

import pytest
from playwright.sync_api import expect

from conftest import demo_server, jsonl

TEN_THOUSAND = 10_000
JSONL = "application/x-ndjson"


def stored(demo, **query) -> list[dict]:
    """The summaries that the server lists."""
    query = {"limit": 100, **query}
    return demo.call("GET", "/v1/traces?" + "&".join(f"{name}={value}" for name, value in query.items()))["data"]


def exported(demo, id: str) -> dict:
    """The one line of a trace's export."""
    return demo.call("GET", f"/v1/traces/{id}/export?format=jsonl")


@pytest.fixture
def page(open_page, demo):
    page = open_page(demo.url)
    expect(page.locator("#side .rows a").first).to_be_visible()
    return page


def store_copies(server, count: int, **changes) -> list[dict]:
    """Stores copies of a demo trace, the newest first."""
    one = exported(server, stored(server, tag="demo")[-1]["id"])
    for key in ("rollouts", "searches"):
        one.pop(key, None)
    fresh = [
        {**one, "id": f"trace_01K7P0C0H4T5G9S1M2N3P{n:05}", "created": 1_690_000_000 + n, "tags": ["copy"], **changes}
        for n in reversed(range(count))
    ]
    report = server.call("POST", "/v1/traces/import", jsonl(*fresh), JSONL)
    assert report["imported"] == count, report
    return fresh


@pytest.fixture
def copies(demo):
    """Stores copies and takes them away afterwards."""
    made = []

    def store(count: int, **changes) -> list[dict]:
        fresh = store_copies(demo, count, **changes)
        made.extend(copy["id"] for copy in fresh)
        return fresh

    yield store
    for id in made:
        demo.call("DELETE", f"/v1/traces/{id}")


def row(page, id: str):
    return page.locator(f"#side li[data-id='{id}']")


def test_a_row_tells_verdict_flags_and_shape(page, demo):
    [first, *_] = stored(demo, sort="created")
    shown = row(page, first["id"])
    expect(shown).to_contain_text({"wrong": "✗ wrong", "correct": "✓ correct"}[first["verdict"]])
    expect(shown).to_contain_text(first["response_excerpt"][:20])
    expect(shown.locator(".tag")).to_have_text("demo")
    expect(shown.locator(".badge.critical")).to_have_text(f"▼ {first['critical_count']}")
    assert shown.locator("svg.spark rect").count() == len(first["sparkline"])
    shown.locator("a").click()
    expect(shown.locator("a")).to_have_attribute("aria-current", "true")


def test_filters_narrow_the_list_and_stay_in_the_address(page, demo):
    total = page.locator("#list-total")
    wrong = stored(demo, verdict="wrong")
    expect(page.locator("#filter-fields")).to_be_hidden()
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Verdict").select_option("wrong")
    expect(total).to_have_text(f"{len(wrong)} traces")
    expect(page).to_have_url(re.compile("verdict=wrong"))
    page.get_by_label("Model", exact=True).select_option("negative")
    page.get_by_label("Tag", exact=True).fill("demo")
    page.keyboard.press("Enter")
    page.get_by_label("has critical tokens").check()
    expect(page).to_have_url(re.compile("model=negative.*tag=demo|tag=demo.*model=negative"))
    expect(page.get_by_role("button", name="Filter · 4")).to_be_visible()
    page.reload()
    expect(total).to_have_text(f"{len(wrong)} traces")
    chips = page.locator(".filter-chips button")
    expect(chips).to_have_count(4)
    chips.filter(has_text="wrong").click()
    expect(chips).to_have_count(3)
    expect(total).to_have_text(f"{len(stored(demo))} traces")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("no such text")
    expect(page.locator("#side")).to_contain_text("No trace matches")
    page.get_by_role("button", name="Clear the filters").click()
    expect(total).to_have_text(f"{len(stored(demo))} traces")


def test_days_include_their_ends(page, demo, copies):
    [copy] = copies(1, created=1_700_000_000)  # 2023-11-14, 22:13 UTC
    total = page.locator("#list-total")
    for sight, found in [
        ("after=2023-11-14&before=2023-11-14", 1),
        ("before=2023-11-14", 1),
        ("after=2023-11-15", len(stored(demo)) - 1),
        ("before=2023-11-13", 0),
    ]:
        page.goto(f"{demo.url}/?{sight}")
        expect(total).to_have_text(re.compile(f"^{found} traces?$"))
    assert copy["created"] == 1_700_000_000


def test_the_order_is_chosen(page, demo):
    for order, key in [("old", "created"), ("lowest", "min_score"), ("critical", "critical_count"), ("new", "created")]:
        page.get_by_label("Order").select_option(order)
        sort = {"sort": key, "order": "asc" if order in ("old", "lowest") else "desc"}
        expected = [summary["id"] for summary in stored(demo, **sort)][:5]
        expect(page.locator("#side .rows > li").first).to_have_attribute("data-id", expected[0])
        shown = page.locator("#side .rows > li").evaluate_all("all => all.slice(0, 5).map((one) => one.dataset.id)")
        assert shown == expected
    expect(page).not_to_have_url(re.compile("sort="))


def test_a_tag_is_a_link_to_its_traces(page, demo, copies):
    copies(2)
    page.locator("#side .rows a").first.click()
    page.locator(".facts").get_by_role("link", name="demo").click()
    expect(page.locator("#list-total")).to_have_text(f"{len(stored(demo, tag='demo'))} traces")
    expect(page).to_have_url(re.compile("tag=demo"))


@pytest.fixture
def large():
    """A demo of its own, with many more traces than a page could hold."""
    with demo_server() as running:
        store_copies(running, TEN_THOUSAND)
        yield running


def test_ten_thousand_traces_scroll_with_few_rows(large, open_page):
    page = open_page(f"{large.url}/?tag=copy")
    rows = page.locator("#side .rows > li")
    expect(page.locator("#list-total")).to_have_text("10,000 traces")
    expect(rows.first.locator("a")).to_be_visible()
    assert rows.count() < 60
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/traces?" in request.url else None)
    scroll = page.locator(".rows-scroll")
    # Through all of it in steps: what goes by is not asked for.
    for part in range(1, 40):
        scroll.evaluate("(one, part) => one.scrollTo(0, (one.scrollHeight * part) / 40)", part)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        assert rows.count() < 60
    scroll.evaluate("one => one.scrollTo(0, one.scrollHeight)")
    last = page.locator("#side li[aria-posinset='10000']")
    expect(last.locator("a")).to_be_visible()
    expect(last).to_have_attribute("aria-setsize", "10000")
    expect(last).to_have_attribute("data-id", "trace_01K7P0C0H4T5G9S1M2N3P00000")
    assert len(asked) < 60, "pages that went by were asked for"
    # By keys, from end to end.
    last.locator("a").focus()
    page.keyboard.press("Home")
    first = page.locator("#side li[aria-posinset='1']")
    expect(first.locator("a")).to_be_focused()
    page.keyboard.press("End")
    expect(last.locator("a")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#side li[aria-posinset='9999'] a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("trace=trace_01K7P0C0H4T5G9S1M2N3P00001"))
    assert rows.count() < 60


def test_the_list_is_walked_by_keys(page, demo):
    ids = [summary["id"] for summary in stored(demo)]
    page.locator("#side .rows a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(row(page, ids[2]).locator("a")).to_be_focused()
    assert page.locator("#side .rows a[tabindex='0']").count() == 1
    page.keyboard.press("PageDown")
    page.keyboard.press("PageUp")
    expect(row(page, ids[2]).locator("a")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"trace={ids[1]}"))


def test_the_list_keeps_its_place_on_a_phone(open_page, demo):
    phone = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}
    page = open_page(demo.url, **phone)
    expect(page.locator("#side .rows a").first).to_be_visible()
    far = row(page, stored(demo)[20]["id"])
    page.locator("#frame").evaluate("one => one.scrollTo(0, 1300)")
    far.locator("a").tap()
    expect(page.locator("#verdict")).to_be_in_viewport()
    page.go_back()
    expect(far.locator("a")).to_be_in_viewport()


@pytest.mark.parametrize("way", ["row", "key", "trace"])
def test_a_deletion_is_undone_exactly(page, demo, way):
    id = stored(demo, verdict="wrong")[2]["id"]
    before = exported(demo, id)
    assert before["rollouts"] and before["searches"]
    count = len(stored(demo))
    if way == "row":
        row(page, id).hover()
        row(page, id).get_by_role("button", name="Delete this trace").click()
    elif way == "key":
        row(page, id).locator("a").focus()
        page.keyboard.press("Delete")
    else:
        row(page, id).locator("a").click()
        page.locator("#delete-trace").click()
        expect(page.get_by_role("heading", name="Find where a chain of thought went wrong")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text("The trace was deleted.")
    expect(row(page, id)).to_have_count(0)
    expect(page.locator("#list-total")).to_have_text(f"{count - 1} traces")
    assert id not in [summary["id"] for summary in stored(demo)]
    if way == "key":
        assert page.evaluate("document.activeElement.closest('.rows > li') !== null"), "the focus stays in the list"
        page.keyboard.press("Control+z")
    else:
        page.get_by_role("button", name="Undo").click()
    expect(row(page, id)).to_be_visible()
    assert exported(demo, id) == before
    if way == "trace":
        expect(page).to_have_url(re.compile(f"trace={id}"))
        expect(page.locator("#response .tok").first).to_be_visible()


def test_the_way_back_waits_while_it_is_pointed_at(open_page, demo, copies):
    [copy] = copies(1)
    page = open_page(f"{demo.url}/?tag=copy")
    page.clock.install()
    page.goto(f"{demo.url}/?tag=copy")
    row(page, copy["id"]).locator("a").focus()
    page.keyboard.press("Delete")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    page.clock.run_for(9_000)
    expect(undo).to_be_visible()
    undo.focus()
    page.clock.run_for(60_000)
    expect(undo).to_be_visible()
    undo.press("Enter")
    expect(row(page, copy["id"])).to_be_visible()
    row(page, copy["id"]).locator("a").focus()
    page.keyboard.press("Delete")
    expect(undo).to_be_visible()
    page.clock.run_for(16_000)
    expect(undo).to_have_count(0)
    demo.call("POST", "/v1/traces/import", jsonl(copy), JSONL)


def test_several_are_selected_exported_deleted_and_brought_back(open_page, demo, copies):
    ids = [copy["id"] for copy in copies(8)]
    page = open_page(f"{demo.url}/?tag=copy")
    row(page, ids[1]).locator("a").click(modifiers=["Shift"])
    row(page, ids[4]).locator("a").click(modifiers=["Shift"])
    expect(page.locator(".selected-count")).to_have_text("4 selected")
    row(page, ids[2]).get_by_role("checkbox").click()
    expect(page.locator(".selected-count")).to_have_text("3 selected")
    with page.expect_download() as waiting:
        page.locator("#side").get_by_role("button", name="Export").click()
    lines = waiting.value.path().read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted([ids[1], ids[3], ids[4]])
    page.locator("#side").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#list-total")).to_have_text("5 traces")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#list-total")).to_have_text("8 traces")
    page.locator("#select-button").click()
    page.locator("#side").get_by_role("button", name="All").click()
    expect(page.locator(".selected-count")).to_have_text("8 selected")
    page.locator("#select-button").click()
    row(page, ids[0]).locator("a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator(".selected-count")).to_have_text("2 selected")
    page.get_by_role("link", name="Compare", exact=True).last.click()
    expect(page).to_have_url(re.compile(f"view=compare.*trace={ids[0]}.*with={ids[1]}|trace={ids[0]}.*view=compare"))
    # Before they are taken away.
    expect(page.locator(".compare-pair")).to_be_visible()


DROP = """async ([files, kinds]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) data.items.add(new File([text], name));
  for (const kind of kinds) window.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_files_are_dropped_anywhere(page, demo, copies):
    [one, two, three] = copies(3)
    for copy in (one, two, three):
        demo.call("DELETE", f"/v1/traces/{copy['id']}")
    files = [["first.jsonl", jsonl(one, two).decode()], ["second.jsonl", "not json\n" + jsonl(three).decode() + "{}\n"]]
    zone = page.locator(".drop-zone")
    page.evaluate(DROP, [files, ["dragenter", "dragover"]])
    expect(zone).to_be_visible()
    page.evaluate(DROP, [files, ["dragleave"]])
    expect(zone).to_be_hidden()
    page.evaluate(DROP, [files, ["dragenter", "drop"]])
    expect(zone).to_be_hidden()
    report = page.get_by_role("dialog", name="Not everything was imported")
    expect(report).to_contain_text("3 traces imported from 2 files, 2 lines refused.")
    refused = report.locator(".refused")
    expect(refused).to_have_count(1)
    expect(refused.get_by_role("heading")).to_have_text("second.jsonl")
    assert refused.locator("tbody td:first-child").all_text_contents() == ["1", "3"]
    report.get_by_role("button", name="Close").click()
    page.get_by_label("Order").select_option("old")
    expect(row(page, one["id"])).to_contain_text("copy")


def test_a_chosen_file_is_imported(page, demo, copies):
    [one] = copies(1)
    file = {"name": "kept.jsonl", "mimeType": JSONL, "buffer": jsonl(one)}
    page.locator("#import-file").set_input_files(file)
    expect(page.locator(".toast")).to_have_text("0 traces imported from kept.jsonl, 1 stored already.")
    page.locator("#import-file").set_input_files({**file, "buffer": b""})
    expect(page.locator(".toast").last).to_contain_text("0 traces imported from kept.jsonl")


def test_the_list_says_when_it_cannot_be_had(open_page, demo):
    page = open_page(f"{demo.url}/?view=models", allow=("500",))
    page.route("**/v1/traces?*", lambda route: route.fulfill(status=500, json={"error": {"message": "The disk is full."}}))
    page.goto(demo.url)
    alert = page.locator("#side").get_by_role("alert")
    expect(alert).to_contain_text("The disk is full.")
    page.unroute("**/v1/traces?*")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#side .rows a").first).to_be_visible()
