"""The stored traces: rows, filters, pages, delete, export, import."""

import json
import re

import pytest
from playwright.sync_api import expect

from conftest import jsonl


@pytest.fixture
def rows(page, trace, right):
    page.reload()
    rows = page.locator("#side .rows li")
    expect(rows.first).to_be_visible()
    return rows


def test_a_row_tells_verdict_flags_and_shape(page, rows, trace):
    row = page.locator(f"#side li[data-id='{trace['id']}']")
    expect(row).to_contain_text("✗ wrong")
    expect(row).to_contain_text("Ola buys 7 * 12 = 94")
    expect(row.locator(".tag")).to_have_text("pens")
    assert row.locator("svg.spark rect").count() == min(48, len(trace["tokens"]))
    if trace["critical"]:
        expect(row.locator(".badge.critical")).to_have_text(f"▼ {len(trace['critical'])}")
    row.locator("a").click()
    expect(row.locator("a")).to_have_attribute("aria-current", "true")


def test_filters_narrow_the_list_and_stay_in_the_address(page, rows, trace, right):
    page.get_by_label("Verdict").select_option("correct")
    expect(page.locator(f"#side li[data-id='{right['id']}']")).to_be_visible()
    expect(page.locator(f"#side li[data-id='{trace['id']}']")).to_have_count(0)
    expect(page).to_have_url(re.compile("verdict=correct"))
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("64 remain")
    expect(page).to_have_url(re.compile("q=64"))
    expect(rows).to_have_count(1)
    page.reload()
    expect(page.get_by_label("Search the traces’ text")).to_have_value("64 remain")
    expect(rows).to_have_count(1)
    page.get_by_label("has critical tokens").check()
    expect(page.locator("#side")).to_contain_text("No trace matches")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(f"#side li[data-id='{trace['id']}']")).to_be_visible()
    page.get_by_label("Tag", exact=True).fill("right-one")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)


def test_a_tag_is_a_link_to_its_traces(page, rows, trace):
    page.locator(f"#side li[data-id='{trace['id']}'] a").click()
    page.locator(".facts").get_by_role("link", name="pens").click()
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("tag=pens"))


def test_a_trace_is_deleted_after_a_question(page, server, trace):
    stored = {**trace, "id": "trace_01K7P0C0H4T5G9S1M2N3P4Q900"}
    server.call("POST", "/v1/traces/import", jsonl(stored), "application/x-ndjson")
    page.goto(f"{server.url}/?trace={stored['id']}")
    row = page.locator(f"#side li[data-id='{stored['id']}']")
    expect(row).to_be_visible()
    page.locator("#delete-trace").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("#verdict")).to_be_visible()
    page.locator("#delete-trace").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("heading", name="Find where a chain of thought went wrong")).to_be_visible()
    assert stored["id"] not in [row["id"] for row in server.call("GET", "/v1/traces?limit=100")["data"]]


def test_exports_download(opened, trace):
    for kind in ("jsonl", "csv", "html"):
        with opened.expect_download() as waiting:
            opened.get_by_role("link", name=f"↓ {kind}").click()
        text = waiting.value.path().read_text()
        assert waiting.value.suggested_filename.endswith(f".{kind}")
        if kind == "jsonl":
            assert json.loads(text)["id"] == trace["id"]
        assert text.strip()


def test_a_jsonl_file_is_imported(page, server, trace):
    again = {**trace, "id": "trace_01K7P0C0H4T5G9S1M2N3P4Q5R7", "tags": ["imported"]}
    file = {"name": "kept.jsonl", "mimeType": "application/x-ndjson", "buffer": jsonl(again) + b"not json\n"}
    page.locator("#import-file").set_input_files(file)
    expect(page.locator(".toast")).to_contain_text("1 trace imported from kept.jsonl")
    expect(page.locator(".toast")).to_contain_text("1 line refused (line 2")
    expect(page.locator(f"#side li[data-id='{again['id']}']")).to_contain_text("imported")
    server.call("DELETE", f"/v1/traces/{again['id']}")


def test_a_long_list_comes_in_pages(page, server, trace):
    short = {**trace, "tags": ["many"], "created": trace["created"] - 10_000}
    copies = [{**short, "id": f"trace_01K7P0C0H4T5G9S1M2N3P4Q{n:03}"} for n in range(120)]
    server.call("POST", "/v1/traces/import", jsonl(*copies), "application/x-ndjson")
    page.goto(f"{server.url}/?tag=many")
    rows = page.locator("#side .rows li")
    expect(rows).to_have_count(50)
    page.locator(".rows-scroll").evaluate("one => one.scrollTo(0, one.scrollHeight)")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(120)
    assert len(set(rows.evaluate_all("all => all.map((one) => one.dataset.id)"))) == 120
    for copy in copies:
        server.call("DELETE", f"/v1/traces/{copy['id']}")
