"""Pasting a trajectory, scoring it, and what goes wrong on the way."""

import re

from playwright.sync_api import expect

from conftest import PROMPT, RESPONSE


def fill(page, prompt=PROMPT, response=RESPONSE, answer="64"):
    page.get_by_label("Question or prompt").fill(prompt)
    page.get_by_label("Response", exact=True).fill(response)
    page.get_by_label("Reference answer").fill(answer)


def test_a_pasted_trajectory_is_scored_and_highlighted(page, server):
    page.get_by_role("navigation").get_by_role("link", name="Score").click()
    fill(page)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page).to_have_url(re.compile(r"trace=trace_"))
    expect(page.locator("#verdict")).to_have_text("✗ wrong")
    expect(page.locator(".answers")).to_have_text("answered 74, expected 64")
    tokens = page.locator("#response .tok")
    stored = server.call("GET", f"/v1/traces/{re.search('trace=(trace_[A-Z0-9]+)', page.url)[1]}")
    expect(tokens).to_have_count(len(stored["tokens"]))
    colours = tokens.evaluate_all("all => new Set(all.map((one) => getComputedStyle(one).backgroundColor)).size")
    assert colours > 3, "tokens of different scores have different colours"
    expect(page.locator("#side .rows li").first).to_contain_text("Ola buys 7")


def test_an_example_is_one_click_away(page):
    page.get_by_role("navigation").get_by_role("link", name="Score").click()
    page.get_by_role("button", name=re.compile("arithmetic slip")).click()
    expect(page.get_by_label("Response", exact=True)).to_have_value(re.compile("14 \\* 6 = \\$94"))
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("✗ wrong")


def test_rules_and_tags_are_sent(page, server):
    page.get_by_role("navigation").get_by_role("link", name="Score").click()
    fill(page)
    page.get_by_label("Tags").fill("one, two")
    page.get_by_label("Critical tokens by").select_option("lowest")
    page.get_by_label("how many").fill("4")
    page.get_by_label("beta").fill("0.5")
    page.get_by_label("Response", exact=True).press("Control+Enter")
    expect(page.locator("#tally")).to_contain_text("4 of ")
    expect(page.locator(".tok.peak")).to_have_count(4)
    stored = server.call("GET", f"/v1/traces/{re.search('trace=(trace_[A-Z0-9]+)', page.url)[1]}")
    assert (stored["beta"], stored["tags"], stored["rule"]["k"]) == (0.5, ["one", "two"], 4)


def test_a_missing_space_is_pointed_out(page):
    page.goto(page.url + "?view=new")
    fill(page, response="Ola")
    page.get_by_role("button", name="Begin the response with a space").click()
    expect(page.get_by_label("Response", exact=True)).to_have_value(" Ola")


def test_missing_fields_and_refusals_are_named(open_page, server):
    page = open_page(f"{server.url}/?view=new", allow=("422", "status of 4"))
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("question or prompt")
    expect(page.get_by_label("Question or prompt")).to_be_focused()
    fill(page, response=" word" * 9000)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("8,?192|context|tokens"))


def test_a_full_queue_and_a_dead_server_are_explained(open_page, server):
    page = open_page(f"{server.url}/?view=new", allow=("429", "ERR_FAILED"))
    error = {"message": "the queue is full", "type": "overloaded_error", "param": None, "code": "queue_full"}
    page.route("**/v1/score", lambda route: route.fulfill(status=429, headers={"Retry-After": "7"}, json={"error": error}))
    fill(page)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("the queue is full. Try again in 7 s.")
    page.unroute("**/v1/score")
    page.route("**/v1/score", lambda route: route.abort())
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


def test_a_running_score_can_be_stopped(open_page, server):
    page = open_page(f"{server.url}/?view=new", allow=("ERR_",))
    page.route("**/v1/score", lambda route: None)
    fill(page)
    page.get_by_role("button", name="Score", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("alert")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_enabled()
