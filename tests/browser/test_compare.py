"""Compare: the same tokens by other models, two responses to one question, and how the two are chosen."""

import re

import pytest
from playwright.sync_api import expect

from conftest import jsonl
from test_layout import PHONE, SIDEWAYS

RIGHT = "Eva: 26 - 18 = 8. Zoe: 8 + 10 = 18. 26 + 8 + 18 = 52. #### 52"


@pytest.fixture(scope="module")
def wrong(demo):
    """A wrong trajectory, scored by the positive and the negative adapter."""
    [row] = demo.call("GET", "/v1/traces?q=Mia%20has%2026%20pens&verdict=wrong")["data"]
    return demo.call("GET", f"/v1/traces/{row['id']}")


@pytest.fixture(scope="module")
def again(demo, wrong):
    """The same tokens by other models."""
    request = {
        "prompt_token_ids": wrong["prompt"]["token_ids"],
        "response_token_ids": [token["id"] for token in wrong["tokens"]],
        "answer": wrong["verdict"]["reference"],
        "top_logprobs": 5,
        "models": {"positive": "cdpo", "negative": "negative"},
    }
    scored = demo.call("POST", "/v1/score", request)
    yield scored
    demo.call("DELETE", f"/v1/traces/{scored['id']}")


@pytest.fixture(scope="module")
def right(demo, wrong):
    """Another response to the same question."""
    scored = demo.score(wrong["prompt"]["text"], RIGHT, answer=wrong["verdict"]["reference"])
    yield scored
    demo.call("DELETE", f"/v1/traces/{scored['id']}")


def compared(open_page, demo, a, b, more="", **options):
    page = open_page(f"{demo.url}/?view=compare&trace={a['id']}&with={b['id']}{more}", **options)
    expect(page.locator(".compare-pair .tok").first).to_be_attached()
    return page


def difference(wrong, again, position: int) -> float:
    from math import log10

    return log10(again["tokens"][position]["score"]) - log10(wrong["tokens"][position]["score"])


def test_the_difference_of_the_same_tokens_is_seen(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again)
    changes = [difference(wrong, again, i) for i in range(len(wrong["tokens"]))]
    expect(page.locator("#response-change")).to_be_visible()
    expect(page.locator("#response-a")).to_be_hidden()
    flagged = [i for i, change in enumerate(changes) if change <= -0.5]
    marked = page.locator("#response-change .tok.flagged")
    expect(marked).to_have_count(len(flagged))
    assert marked.evaluate_all("all => all.map((one) => Number(one.id.replace('changet', '')))") == flagged
    # The table begins with the largest change, in either direction.
    worst = max(range(len(changes)), key=lambda i: abs(changes[i]))
    first = page.locator("#panel .changes tbody tr").first
    expect(first.locator("th")).to_contain_text(str(worst))
    expect(first.locator("td").last).to_have_text(f"{changes[worst]:+.2f}".replace("-", "−"))
    worse = sum(change < -0.02 for change in changes)
    expect(page.locator(".compare-summary")).to_contain_text(f"in B {worse} look more suspicious")
    # Zero is in the middle of the scale.
    middle = page.locator(".legend-scale").evaluate("one => one.style.getPropertyValue('--mid')")
    assert float(middle) == 0.5


def test_three_ways_to_look_and_both(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again)
    shown = lambda: page.locator(".compare-text").evaluate_all("all => all.filter((one) => one.checkVisibility()).map((one) => one.classList[1])")
    for look, parts in [("A", ["a"]), ("B", ["b"]), ("A and B", ["a", "b"]), ("B − A", ["change"])]:
        page.get_by_role("radio", name=look, exact=True).check()
        expect(page.locator(".compare-pair")).to_have_attribute("data-look", {"A": "a", "B": "b", "A and B": "both"}.get(look, "change"))
        assert shown() == parts
    page.get_by_role("radio", name="A", exact=True).check()
    page.get_by_label("Threshold, exact value").fill("0.5")
    page.keyboard.press("Enter")
    expect(page.locator("#response-a .tok.flagged")).to_have_count(sum(token["score"] <= 0.5 for token in wrong["tokens"]))
    page.get_by_role("radio", name="B", exact=True).check()
    page.get_by_label("Threshold, exact value").fill("0.5")
    page.keyboard.press("Enter")
    expect(page.locator("#response-b .tok.flagged")).to_have_count(sum(token["score"] <= 0.5 for token in again["tokens"]))


def test_everything_is_linked_and_in_the_address(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again, "&look=both")
    page.locator("#at6").hover()
    expect(page.locator("#bt6")).to_have_class(re.compile("hovered"))
    page.locator("#bt4").click()
    for part in "ab":
        expect(page.locator(f"#{part}t4")).to_have_class(re.compile("chosen"))
    expect(page.locator("#panel h2")).to_have_text("Token 4")
    numbers = page.locator("#panel .pair-numbers")
    expect(numbers).to_contain_text("p pos")
    expect(page.locator("#panel .pair-alternatives tbody tr")).to_have_count(len(again["tokens"][4]["top"]))
    page.locator("#measure").select_option("gap")
    page.get_by_role("radio", name="word").check()
    page.locator("#response-b").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#bt5")).to_have_class(re.compile("chosen"))
    expect(page).to_have_url(re.compile(r"token=5"))
    page.mouse.move(5, 5)
    expect(page.locator(".tok.hovered")).to_have_count(0)
    other = open_page(page.url)
    see = """() => [[...document.querySelectorAll('.compare-text .tok')].map((one) => [[...one.classList].sort().join(' '), getComputedStyle(one).backgroundColor]),
      document.querySelector('#panel .panel-body').textContent, document.querySelector('#tally').textContent]"""
    expect(other.locator("#bt5")).to_have_class(re.compile("chosen"))
    assert other.evaluate(see) == page.evaluate(see)


def test_flagged_tokens_are_walked_in_a_comparison(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again, "&threshold=-0.02")
    flagged = [i for i in range(len(wrong["tokens"])) if difference(wrong, again, i) <= -0.02]
    for position in [*flagged, flagged[0]]:
        page.keyboard.press("j")
        expect(page.locator(".tok.chosen").first).to_have_id(re.compile(f"t{position}$"))
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile(f"token={flagged[-1]}"))
    page.keyboard.press("Escape")
    expect(page.locator(".tok.chosen")).to_have_count(0)


def test_sides_are_swapped(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again)
    card = page.get_by_role("region", name="Trace A")
    expect(card).to_contain_text("positive")
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile(f"trace={again['id']}.*with={wrong['id']}"))
    expect(card).to_contain_text("cdpo")
    page.get_by_role("button", name="Swap A and B").click()
    expect(page).to_have_url(re.compile(f"trace={wrong['id']}.*with={again['id']}"))
    page.go_back()
    expect(page).to_have_url(re.compile(f"trace={again['id']}.*with={wrong['id']}"))


def test_two_responses_part_at_a_token(open_page, demo, wrong, right):
    page = compared(open_page, demo, wrong, right)
    ids = [[token["id"] for token in one["tokens"]] for one in (wrong, right)]
    common = next(i for i, (a, b) in enumerate(zip(*ids)) if a != b)
    expect(page.locator(".compare-summary")).to_contain_text(f"The first {common} tokens are the same")
    for part in "ab":
        expect(page.locator(f"#response-{part} .tok.common")).to_have_count(common)
        expect(page.locator(f"#response-{part} .tok.parts")).to_have_id(f"{part}t{common}")
    # Words that both have are not marked, wherever they stand.
    texts = lambda part: page.locator(f"#response-{part} .tok.differs").all_text_contents()
    assert [text.strip(" ·") for text in texts("a")][:3] == ["+", "4", "4"]
    assert "Zoe" not in "".join(texts("b"))
    expect(page.locator("#panel h2")).to_have_text("Where they part")
    page.locator(".compare-summary").get_by_role("button").last.click()
    expect(page).to_have_url(re.compile(f"token={common}.*look=b|look=b.*token={common}"))
    expect(page.locator(f"#at{common}")).to_have_class(re.compile("chosen"))
    expect(page.locator(f"#bt{common}")).to_have_class(re.compile("chosen"))
    page.keyboard.press("ArrowRight")
    expect(page.locator(f"#bt{common + 1}")).to_have_class(re.compile("chosen"))


def test_a_trace_is_compared_by_key_and_what_fits_is_proposed(open_page, demo, wrong, again, right):
    page = open_page(f"{demo.url}/?trace={wrong['id']}")
    expect(page.locator("#response .tok").first).to_be_visible()
    page.keyboard.press("c")
    proposals = page.locator(".proposal")
    expect(proposals.first).to_contain_text("same response")
    expect(proposals.filter(has_text="other response").first).to_contain_text("correct")
    proposals.filter(has_text="other response").first.click()
    expect(page.locator("#response-b")).to_contain_text("#### 52")
    page.get_by_role("button", name="Choose trace B").click()
    chooser = page.get_by_role("dialog", name="Choose trace B")
    expect(chooser.get_by_role("option").first).to_contain_text("Mia has 26")
    chooser.get_by_role("combobox").fill("16 stamps")
    expect(chooser.get_by_role("option").first).to_contain_text("16 stamps")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(chooser).to_have_count(0)
    expect(page.locator(".compare-summary")).to_contain_text("different questions")


def test_it_is_scored_again_by_other_models(open_page, demo, wrong):
    page = open_page(f"{demo.url}/?view=compare&trace={wrong['id']}")
    form = page.get_by_role("form", name="Score A again with other models")
    expect(form.locator("#again-positive")).to_have_value("cdpo")
    form.locator("#again-negative").select_option("positive")
    form.get_by_role("button", name="Score and compare").click()
    expect(page.locator(".compare-summary")).to_contain_text(f"The same {len(wrong['tokens'])} tokens")
    id = re.search(r"with=(trace_\w+)", page.url)[1]
    scored = demo.call("GET", f"/v1/traces/{id}")
    assert [token["id"] for token in scored["tokens"]] == [token["id"] for token in wrong["tokens"]]
    assert (scored["models"]["positive"]["id"], scored["models"]["negative"]["id"]) == ("cdpo", "positive")
    for same in ("rule", "beta", "tags", "verdict"):
        assert scored[same] == wrong[same], same
    assert demo.call("GET", "/v1/roles") == {"positive": "positive", "negative": "negative"}
    demo.call("DELETE", f"/v1/traces/{id}")


def test_what_cannot_be_compared_says_so(open_page, demo, wrong):
    page = open_page(f"{demo.url}/?view=compare")
    expect(page.locator(".main")).to_contain_text("Compare two traces")
    page.get_by_role("button", name="Choose the first").click()
    page.keyboard.press("Escape")
    page = open_page(f"{demo.url}/?view=compare&trace={wrong['id']}&with=trace_00000000000000000000000000", allow=("404",))
    expect(page.get_by_role("alert")).to_contain_text("not stored")


@pytest.mark.parametrize("sight", ["&look=both&token=4", "&look=change", ""])
def test_it_fits_every_width(open_page, demo, wrong, again, right, sight):
    page = compared(open_page, demo, wrong, again if sight else right, sight)
    for width in (1000, 700, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert not page.evaluate(SIDEWAYS), width


def test_on_a_phone_one_stands_over_the_other(open_page, demo, wrong, again):
    page = compared(open_page, demo, wrong, again, "&look=both", **PHONE)
    a, b = page.locator("#response-a").bounding_box(), page.locator("#response-b").bounding_box()
    assert b["y"] >= a["y"] + a["height"] and a["x"] == b["x"]
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator(".changes")).to_be_visible()
    page.locator("#at4").tap()
    expect(page.locator("#panel")).to_be_visible()


def test_two_of_four_thousand_tokens_stay_interactive(open_page, demo, wrong, again, right):
    """Made of real tokens over and over: the same ones twice, and two that differ in every line."""
    large = {}
    for letter, trace in (("A", wrong), ("B", again), ("C", right)):
        size, base, tokens = len(trace["response"]["text"]), trace["tokens"], []
        for position in range(4000):
            turn, token = position // len(base), base[position % len(base)]
            shift = {"start": token["start"] + turn * size, "end": token["end"] + turn * size}
            tokens.append({**token, "position": position, "critical": False, **shift})
        text = (trace["response"]["text"] * (4000 // len(base) + 1))[: tokens[-1]["end"]]
        large[letter] = {
            **{key: value for key, value in trace.items() if key not in ("rollouts", "searches")},
            "id": f"trace_01K7P0C0H4T5G9S1M2N3P4QK{letter}0",
            "response": {**trace["response"], "text": text},
            "tokens": tokens,
            "critical": [],
            "rule": {"rule": "threshold", "value": 0},
            "verdict": None,
            "usage": {**trace["usage"], "response_tokens": 4000},
        }
    report = demo.call("POST", "/v1/traces/import", jsonl(*large.values()), "application/x-ndjson")
    assert report["imported"] == 3, report
    for other in "BC":
        page = compared(open_page, demo, large["A"], large[other], "&look=both")
        took = page.evaluate(
            """async () => {
            const tokens = [...document.querySelectorAll('#response-a .tok')];
            const begun = performance.now();
            for (let i = 0; i < 10; i += 1) {
              tokens[i * 40].dispatchEvent(new PointerEvent('pointermove', { bubbles: true }));
              tokens[i * 40].click();
              document.body.offsetHeight;
            }
            return { tokens: tokens.length, each: (performance.now() - begun) / 10 };
          }"""
        )
        assert took["tokens"] == 4000
        # Wide enough for any machine: work in quadratic time takes far longer.
        assert took["each"] < 1000, took
    for trace in large.values():
        demo.call("DELETE", f"/v1/traces/{trace['id']}")


def test_words_are_aligned(open_page, demo):
    """The alignment itself, against the lengths that it must reach."""
    page = open_page(demo.url)
    pairs = page.evaluate(
        """async () => {
        const { longestCommon } = await import('/js/longest-common.js');
        const cases = [['a b c d', 'a c d'], ['', 'a'], ['a b', 'c d'], ['x a y b z', 'a q b'], ['a a b', 'a b b'], ['p', 'q p r p']];
        return cases.map(([a, b]) => longestCommon(a.split(' '), b.split(' ')).map(([i, j]) => [a.split(' ')[i], b.split(' ')[j]]));
      }"""
    )
    assert [len(case) for case in pairs] == [3, 0, 0, 2, 2, 1]
    assert all(a == b for case in pairs for a, b in case)
