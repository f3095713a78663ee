"""The models: what is loaded, roles, adapters, a page without scores, and the key."""

import re

import pytest
from playwright.sync_api import expect

from conftest import PROMPT, RESPONSE


@pytest.fixture
def models(open_page, server):
    page = open_page(f"{server.url}/?view=models", allow=("404", "409", "422"))
    expect(page.locator(".models-table tbody tr")).to_have_count(3)
    yield page
    server.call("PUT", "/v1/roles", {"positive": "positive", "negative": "negative"})


def test_what_is_loaded_is_told(models, server):
    for card in server.call("GET", "/v1/models")["data"]:
        row = models.locator(f".models-table tr[data-id='{card['id']}']")
        assert card["memory_bytes"] > 0
        for fact in (card["dtype"], card["device"], card["architecture"], card["sha256"][:12], f"{card['max_context']:,}"):
            expect(row).to_contain_text(fact)
        for role in card["roles"]:
            expect(row.locator(f".badge.{role}")).to_be_visible()
    expect(models.locator("tfoot")).to_contain_text("3 models in memory")
    expect(models.locator("tfoot")).to_contain_text(re.compile(r"\d [kMG]B"))
    expect(models.locator("#roles-now")).to_contain_text("positive")


def test_roles_are_switched(models, server):
    models.locator("#role-negative").select_option("positive")
    expect(models.locator(".models-table tr[data-id='positive'] .badge.negative")).to_be_visible()
    assert server.call("GET", "/v1/roles") == {"positive": "positive", "negative": "positive"}
    models.locator("#role-negative").select_option("negative")
    expect(models.locator(".models-table tr[data-id='negative'] .badge.negative")).to_be_visible()


def test_an_adapter_is_loaded_and_unloaded(models):
    models.get_by_label("Name").fill("again")
    models.get_by_label("Path inside the folder").fill("positive")
    models.get_by_role("button", name="Load", exact=True).click()
    row = models.locator(".models-table tr[data-id='again']")
    expect(row).to_contain_text("no role")
    row.get_by_role("button", name="Unload").click()
    models.get_by_role("dialog").get_by_role("button", name="Unload").click()
    expect(row).to_have_count(0)


def test_refusals_are_shown(models):
    models.get_by_label("Name").fill("elsewhere")
    models.get_by_label("Path inside the folder").fill("../../etc")
    models.get_by_role("button", name="Load", exact=True).click()
    expect(models.get_by_role("alert")).to_contain_text(re.compile("path|folder", re.I))
    models.locator(".models-table tr[data-id='positive']").get_by_role("button", name="Unload").click()
    models.get_by_role("dialog").get_by_role("button", name="Unload").click()
    expect(models.locator(".toast.bad")).to_contain_text(re.compile("role", re.I))


def test_a_key_is_asked_for_and_no_scores_are_explained(open_page, keyed):
    page = open_page(keyed.url, allow=("401",))
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key").fill("wrong key")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("did not accept")
    dialog.get_by_label("Key").fill(keyed.key)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator("#side")).to_contain_text("No traces yet")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]

    page.get_by_role("link", name="Score a trajectory").first.click()
    page.get_by_label("Question or prompt").fill(PROMPT)
    page.get_by_label("Response", exact=True).fill(RESPONSE)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#no-scores")).to_contain_text("load a positive and a negative adapter")
    expect(page.locator("#measure")).to_have_value("logprob")
    expect(page.locator("#measure option[value=score]")).to_be_disabled()
    page.locator("#t4").click()
    expect(page.locator("#panel .models")).to_contain_text("no model in this role")
    expect(page.locator("#panel .alternatives th")).not_to_contain_text(["pos", "neg", "s_t"])
    # A plain link could not carry the key.
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export").click()
        page.get_by_role("menuitem", name=re.compile("^JSONL")).click()
    assert '"object":"trace"' in waiting.value.path().read_text().replace(" ", "")
    page.locator("#no-scores").get_by_role("link", name=re.compile("load a positive")).click()
    expect(page.get_by_text("Only the base is loaded")).to_be_visible()


def test_a_refused_key_leaves_a_way_on(open_page, keyed):
    page = open_page(keyed.url, allow=("401",))
    page.get_by_role("dialog").get_by_role("button", name="Not now").click()
    expect(page.locator("#side").get_by_role("alert")).to_contain_text("asks for an API key")
    page.locator("#side").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()
