"""Looking at one trace: tokens and their numbers, flags, threshold, measures, granularity, the address."""

import re

import pytest
from playwright.sync_api import expect

from conftest import flagged_at, threshold_for


def figures(p: float) -> str:
    """A probability as the page writes it."""
    if p < 0.0005:
        return re.sub(r"e-0*", "e−", f"{p:.1e}")
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def test_pointing_at_a_token_shows_its_numbers_by_model(opened, trace):
    token = trace["tokens"][6]
    opened.locator("#t6").hover()
    panel = opened.locator("#panel")
    expect(panel.locator("h2")).to_contain_text("Token 6")
    expect(panel.locator("#panel-st")).to_have_text(figures(token["score"]))
    for row, role in enumerate(("base", "positive", "negative")):
        cells = panel.locator(".models tbody tr").nth(row)
        expect(cells.locator("th")).to_have_text(role)
        expect(cells.locator("td").nth(1)).to_have_text(f"{token['logprob'][role]:.2f}".replace("-", "−"))
        expect(cells.locator("td").nth(2)).to_have_text(f"{token['rank'][role]:,}")
    own = any(other["id"] == token["id"] for other in token["top"])
    expect(panel.locator(".alternatives tbody tr")).to_have_count(len(token["top"]) + (not own))
    expect(panel.locator(".alternatives tr.actual")).to_have_count(1)
    opened.mouse.move(5, 5)
    expect(panel.locator("h2")).to_have_text("Most suspicious")


def test_alternatives_sort_by_any_model(opened, trace):
    opened.locator("#t6").click()
    panel = opened.locator("#panel")
    panel.get_by_role("button", name="neg", exact=True).click()
    expect(panel.locator("th[aria-sort=descending]")).to_have_text("neg")
    token = trace["tokens"][6]
    likeliest = max(token["top"], key=lambda other: other["negative"])
    if likeliest["negative"] > token["logprob"]["negative"]:
        expect(panel.locator(".alternatives tbody th").first).to_have_attribute("title", f"id {likeliest['id']}")


def test_flagged_tokens_are_walked_by_key_and_by_button(open_page, server, trace):
    threshold = threshold_for(trace, 4)
    walk = flagged_at(trace, threshold)
    page = open_page(f"{server.url}/?trace={trace['id']}&threshold={threshold}")
    expect(page.locator(".tok.flagged")).to_have_count(len(walk))
    chosen = page.locator(".tok.chosen")
    for position in [*walk, walk[0]]:
        page.keyboard.press("j")
        expect(chosen).to_have_id(f"t{position}")
    page.keyboard.press("k")
    expect(chosen).to_have_id(f"t{walk[-1]}")
    page.locator(".tools").get_by_role("button", name="Previous flagged token").click()
    expect(chosen).to_have_id(f"t{walk[-2]}")
    page.keyboard.press("ArrowRight")
    expect(chosen).to_have_id(f"t{walk[-2] + 1}")
    page.keyboard.press("ArrowLeft")
    expect(chosen).to_have_id(f"t{walk[-2]}")
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)


def test_flags_are_shapes_not_only_colours(open_page, server, trace):
    threshold = threshold_for(trace, 3)
    page = open_page(f"{server.url}/?trace={trace['id']}&threshold={threshold}")
    flagged = page.locator(".tok.flagged")
    expect(flagged).to_have_count(len(flagged_at(trace, threshold)))
    style = flagged.first.evaluate(
        "one => [getComputedStyle(one).textDecorationLine, getComputedStyle(one).textDecorationThickness,"
        " getComputedStyle(one).backgroundSize, getComputedStyle(one).backgroundImage.split('linear-gradient').length]"
    )
    # The line, and the notch's two halves.
    assert style == ["underline", "3px", "5px 6px, 5px 6px", 3]
    plain = page.locator(".tok:not(.flagged)").first
    assert plain.evaluate("one => getComputedStyle(one).backgroundImage") == "none"


def test_the_slider_restyles_without_rebuilding(opened, trace):
    colours = lambda: opened.locator(".tok").evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    opened.evaluate("document.querySelectorAll('.tok').forEach((one) => { one.mine = true; })")
    expect(opened.locator("#threshold")).to_be_visible()
    before = colours()
    opened.get_by_label("Threshold, exact value").fill("0.9")
    opened.keyboard.press("Enter")
    expect(opened.locator(".tok.flagged")).to_have_count(len(flagged_at(trace, 0.9)))
    # Every token that was sound is less so, or suspicious now; the legend's scale is the same one.
    changed = sum(one != other for one, other in zip(before, colours(), strict=True))
    assert changed > len(before) / 2, changed
    opened.locator("#threshold").focus()
    opened.keyboard.press("Home")
    lowest = flagged_at(trace, 1e-4)
    expect(opened.locator(".tok.flagged")).to_have_count(len(lowest))
    assert opened.evaluate("[...document.querySelectorAll('.tok')].every((one) => one.mine)"), "tokens were rebuilt"
    expect(opened).to_have_url(re.compile("threshold=0.0001"))
    opened.get_by_role("button", name=re.compile("^back to s_t")).click()
    expect(opened.locator(".tok.flagged")).to_have_count(len(trace["critical"]))


def test_the_worse_a_token_the_stronger_its_colour(opened, trace):
    """Orange grows with suspicion below the threshold, blue with soundness above it."""
    opened.get_by_label("Threshold, exact value").fill("0.3")
    opened.keyboard.press("Enter")
    expect(opened.locator(".tok.flagged")).to_have_count(len(flagged_at(trace, 0.3)))
    # As [red, green, blue, alpha]; a token of this text is a piece of its own.
    shades = opened.locator(".tok").evaluate_all(
        """all => all.map((one) => getComputedStyle(one).backgroundColor.match(/[\\d.]+/g).map(Number))"""
    )
    strength = sorted(
        (token["score"], shade[-1] if shade[0] > shade[2] else -shade[-1])
        for token, shade in zip(trace["tokens"], shades, strict=True)
    )
    assert strength[0][1] > 0.2 > -0.2 > strength[-1][1], strength
    assert all(worse >= better - 1e-6 for (_, worse), (_, better) in zip(strength, strength[1:])), strength


def test_the_trace_begins_with_its_own_rule(opened, trace):
    expect(opened.locator(".tok.flagged")).to_have_count(len(trace["critical"]))
    expect(opened.get_by_label("Threshold, exact value")).to_have_value("0.05")


@pytest.mark.parametrize("measure", ["logprob", "gap", "entropy", "rank"])
def test_every_measure_colours_and_flags(open_page, server, trace, measure):
    value = {
        "logprob": lambda token: token["logprob"]["base"] <= -1.5,
        "gap": lambda token: token["logprob"]["positive"] - token["logprob"]["negative"] <= -1.5,
        "entropy": lambda token: token["entropy"]["base"] >= 1.5,
        "rank": lambda token: token["rank"]["base"] >= 2,
    }[measure]
    threshold = {"entropy": 1.5, "rank": 2}.get(measure, -1.5)
    page = open_page(f"{server.url}/?trace={trace['id']}&measure={measure}&threshold={threshold}")
    expect(page.locator("#measure")).to_have_value(measure)
    expect(page.locator(".tok.flagged")).to_have_count(sum(map(value, trace["tokens"])))


def test_words_and_steps_take_their_worst_token(open_page, server, trace):
    threshold = threshold_for(trace, 2)
    page = open_page(f"{server.url}/?trace={trace['id']}&threshold={threshold}&by=step")
    expect(page.locator("#tally")).to_contain_text("of 3 steps flagged")
    peaks = page.locator(".tok.peak")
    assert set(peaks.evaluate_all("all => all.map((one) => one.id)")) <= {f"t{p}" for p in flagged_at(trace, threshold)}
    assert page.locator(".tok.flagged").count() > peaks.count()
    page.get_by_role("radio", name="word").check()
    expect(page.locator("#tally")).to_contain_text("words flagged")
    expect(page).to_have_url(re.compile("by=word"))


def test_the_chart_is_linked_with_the_text(opened, trace):
    chart = opened.locator(".chart-canvas")
    box = chart.bounding_box()
    count = len(trace["tokens"])
    x = box["x"] + box["width"] * (10.5 / count)
    opened.mouse.move(x, box["y"] + 20)
    expect(opened.locator(".tok.hovered")).to_have_id("t10")
    opened.mouse.click(x, box["y"] + 20)
    expect(opened.locator(".tok.chosen")).to_have_id("t10")
    expect(opened).to_have_url(re.compile("token=10"))
    expect(chart).to_have_attribute("aria-label", re.compile("s_t by position"))
    assert chart.evaluate("one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(Boolean)")


def test_a_link_opens_the_same_sight(opened, open_page):
    opened.locator("#measure").select_option("entropy")
    opened.get_by_role("radio", name="word").check()
    opened.get_by_label("Threshold, exact value").fill("1.25")
    opened.keyboard.press("Enter")
    opened.locator("#t12").click()
    expect(opened).to_have_url(re.compile("token=12"))
    see = """() => ({
      tokens: [...document.querySelectorAll('.tok')].map((one) => [one.className, getComputedStyle(one).backgroundColor]),
      panel: document.querySelector('#panel-body').textContent, tally: document.querySelector('#tally').textContent })"""
    opened.mouse.move(5, 5)
    expect(opened.locator(".tok.hovered")).to_have_count(0)
    again = open_page(opened.url)
    expect(again.locator(".tok.chosen")).to_have_id("t12")
    assert again.evaluate(see) == opened.evaluate(see)


def test_back_returns_to_the_last_sight(open_page, server, trace, right):
    page = open_page(f"{server.url}/?trace={trace['id']}&token=3")
    expect(page.locator("#verdict")).to_have_text("✗ wrong")
    page.locator(f"#side li[data-id='{right['id']}'] a").click()
    expect(page.locator("#verdict")).to_have_text("✓ correct")
    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    page.go_back()
    expect(page.locator("#verdict")).to_have_text("✓ correct")
    page.go_back()
    expect(page.locator("#verdict")).to_have_text("✗ wrong")
    expect(page.locator(".tok.chosen")).to_have_id("t3")
    page.go_forward()
    expect(page.locator("#verdict")).to_have_text("✓ correct")


def test_a_missing_trace_says_so(open_page, server):
    page = open_page(f"{server.url}/?trace=trace_01K7P0C0H4T5G9S1M2N3P4Q5R6", allow=("404",))
    expect(page.get_by_role("alert")).to_contain_text("no such trace")
    page.get_by_role("link", name="All traces").click()
    expect(page.get_by_role("heading", name="Find where a chain of thought went wrong")).to_be_visible()


def test_a_long_prompt_is_folded(open_page, server, trace, variant):
    prompt = "".join(f"Question: {n} + 1?\nAnswer: {n + 1}\n\n" for n in range(8)) + "Question: 9 + 1?\nAnswer:"
    stored = variant(prompt={**trace["prompt"], "text": prompt})
    page = open_page(f"{server.url}/?trace={stored['id']}")
    text = page.locator("#prompt-text")
    expect(text).to_have_text("Question: 9 + 1?\nAnswer:")
    page.get_by_role("button", name="Show the whole prompt").click()
    expect(text).to_have_text(prompt)
    page.get_by_role("button", name="Fold").click()
    expect(text).to_have_text("Question: 9 + 1?\nAnswer:")


def test_a_long_question_is_folded_to_four_lines(open_page, server, trace, variant):
    question = "Question: " + "one more word and then " * 60 + "?\nAnswer:"
    stored = variant(prompt={**trace["prompt"], "text": question})
    page = open_page(f"{server.url}/?trace={stored['id']}")
    expect(page.get_by_role("button", name="Show the whole prompt")).to_be_visible()
    assert page.locator("#prompt-text").bounding_box()["height"] < 5 * 21
