"""Rolling out from a token, searching for the critical one, reading what came of it, and making pairs of it."""

import json
import re

import pytest
from playwright.sync_api import expect

WRONG = "trace_01M8AAJ2S9T6XFT193QCFKBA4T"
"""28 + 3 = 31 where 28 - 3 is meant: the sign at token 4 is the slip."""
SLIP = 4
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
# Enough that a run goes on while the page is looked at, and is stopped before it ends.
MANY = 2048


@pytest.fixture
def source(demo):
    """The demo's trace as it was made."""
    return demo.call("GET", f"/v1/traces/{WRONG}")


@pytest.fixture
def fresh(demo, source):
    """The demo's trace under an id of its own, without rollouts and searches; taken away afterwards."""
    made = []

    def copy(**changes) -> dict:
        made.append({**source, "id": f"trace_01M8AAJ2S9T6XFT193QCFKB{len(made):02}Z", **changes})
        for kept in ("rollouts", "searches"):
            made[-1].pop(kept, None)
        report = demo.call("POST", "/v1/traces/import", json.dumps(made[-1]).encode() + b"\n", "application/x-ndjson")
        assert report["imported"] == 1, report
        return made[-1]

    yield copy
    for one in made:
        for run in demo.call("GET", f"/v1/runs?trace_id={one['id']}&state=running")["data"]:
            demo.call("POST", f"/v1/runs/{run['id']}/cancel")
        demo.call("DELETE", f"/v1/traces/{one['id']}")


@pytest.fixture
def at_slip(open_page, demo, fresh):
    """A trace without rollouts, open at the slip."""
    page = open_page(f"{demo.url}/?trace={fresh()['id']}&token={SLIP}", allow=("422",))
    expect(page.locator("#roll-out")).to_be_visible()
    return page


@pytest.fixture
def crowd(demo, fresh):
    """Other runs, which share the model: whatever the machine, one that is looked at then takes long enough."""
    trace = fresh()
    for seed in range(6):
        body = rollouts(trace, samples=MANY, background=True)
        demo.call("POST", "/v1/rollouts", body | {"sampling": {"max_tokens": 100, "seed": seed}})


@pytest.fixture
def rolled(open_page, demo, fresh):
    """A trace with 64 rollouts of the slip and as many of the right sign, open at their tree."""
    trace = fresh()
    made = demo.call("POST", "/v1/rollouts", rollouts(trace, texts=[" -"], samples=64))
    page = open_page(f"{demo.url}/?trace={trace['id']}&token={SLIP}&run={made['id']}")
    expect(page.locator("#fork-tree .tree-row").first).to_be_visible()
    page.made = made
    return page


def rollouts(trace, texts=(" -",), samples=16, **more):
    return {
        "trace_id": trace["id"],
        "position": SLIP,
        "alternatives": {"source": "given", "texts": list(texts)},
        "samples": samples,
        "original_samples": samples,
        "sampling": {"max_tokens": 100},
        **more,
    }


def settle(page, fold, **values):
    """Opens a fold of settings and sets some."""
    page.locator(f"{fold} > summary").click()
    for name, value in values.items():
        page.locator(f"#{name.replace('_', '-', 1)}").fill(str(value))


def run_of(page) -> str:
    """The run that the address holds."""
    expect(page).to_have_url(re.compile(r"run=\w+"))
    return re.search(r"run=(\w+)", page.url)[1]


def drawn(page, more_than: int = 0) -> int:
    """How many rollouts the run under way tells of, once they are more than so many."""
    page.wait_for_function(
        """(least) => Number((document.querySelector('.run-bar .run-count')?.textContent ?? '0').split(' of ')[0].replace(',', '')) > least""",
        arg=more_than,
        timeout=90_000,
    )
    return int(page.locator(".run-bar .run-count").inner_text().split(" of ")[0].replace(",", ""))


def rate(page, row: int):
    return page.locator("#panel .rates tbody tr").nth(row)


def test_an_alternative_is_rolled_out_by_a_click(at_slip, demo):
    at_slip.get_by_role("button", name="Roll out with ·-").click()
    panel = at_slip.locator("#panel .rollout-panel")
    expect(rate(at_slip, 0)).to_contain_text("/64")
    expect(panel.locator(".finding strong")).to_contain_text("·- instead of ·+ lifts right answers from")
    expect(panel.locator(".stop")).to_be_hidden()
    stored = demo.call("GET", f"/v1/rollouts/{run_of(at_slip)}")
    for row, group in enumerate((stored["original"], stored["alternatives"][0])):
        expect(rate(at_slip, row).locator("td").nth(1)).to_have_text(f"{group['correct']}/{group['samples']}")
        expect(rate(at_slip, row).locator("td").nth(2)).to_contain_text(f"{group['rate'] * 100:.0f}%")
        low = rate(at_slip, row).locator(".ci").evaluate("one => Number(one.style.getPropertyValue('--low'))")
        assert low == pytest.approx(group["interval"][0], abs=1e-4)
    assert rate(at_slip, 1).get_attribute("title").endswith("better than the response’s own token")


def test_alternatives_are_looked_up_where_there_are_none(open_page, demo, fresh, source):
    bare = fresh(tokens=[{**token, "top": []} for token in source["tokens"]])
    page = open_page(f"{demo.url}/?trace={bare['id']}&token={SLIP}")
    page.get_by_role("button", name="Look them up").click()
    expect(page.locator(".alternatives tbody tr").first).to_contain_text("·+")
    expect(page.get_by_role("button", name="Roll out with ·-")).to_be_visible()


def test_the_model_draws_alternatives_by_key(at_slip, demo):
    expect(at_slip.locator("#roll-out")).to_have_text("Roll out: 64 sampled")
    at_slip.locator("#response").focus()
    at_slip.keyboard.press("Enter")
    expect(at_slip.locator("#panel .finding strong")).to_be_visible()
    stored = demo.call("GET", f"/v1/rollouts/{run_of(at_slip)}")
    assert stored["alternatives_source"] == "sampled" and stored["original"]["samples"] == 64
    assert sum(group["drawn"] for group in stored["alternatives"]) == 64
    if len(stored["alternatives"]) > 1:
        expect(rate(at_slip, 1)).to_contain_text("any other")


def test_the_likeliest_tokens_are_rolled_out(at_slip, demo):
    at_slip.locator("#top-k").fill("3")
    at_slip.locator("#top-of").select_option("positive")
    settle(at_slip, ".rollout-form .settings", rollouts_samples=8)
    at_slip.locator("#roll-out-top").click()
    expect(at_slip.locator("#panel .finding strong")).to_be_visible()
    stored = demo.call("GET", f"/v1/rollouts/{run_of(at_slip)}")
    assert stored["alternatives_source"] == "top" and [one["samples"] for one in stored["alternatives"]] == [8] * 3


def test_a_token_is_typed(at_slip, demo):
    field, problem = at_slip.locator("#typed-token"), at_slip.locator("#typed-problem")
    field.fill(" 31")
    expect(at_slip.locator("#typed-echo")).to_contain_text("2 tokens, not one: ·3 1")
    at_slip.locator("#roll-out-typed").click()
    expect(problem).to_contain_text("·31 must be one token, and is 2")
    expect(field).to_be_focused()
    # Pointing at another token leaves what is being typed where it is.
    at_slip.locator("#t9").hover()
    expect(field).to_have_value(" 31")
    field.fill(" *")
    expect(problem).to_be_empty()
    expect(at_slip.locator("#typed-echo")).to_contain_text("one token: ·*")
    field.press("Enter")
    expect(rate(at_slip, 1)).to_contain_text("·*")
    expect(at_slip.locator("#panel .finding strong")).to_be_visible()


def test_settings_are_remembered_and_refused_at_their_field(at_slip):
    settle(at_slip, ".rollout-form .settings", rollouts_samples=9, rollouts_max_tokens=4000)
    expect(at_slip.locator("#roll-out")).to_have_text("Roll out: 9 sampled")
    at_slip.locator("#roll-out").click()
    expect(at_slip.locator(".settings-fields .problem:visible")).to_contain_text("context holds 256")
    at_slip.reload()
    expect(at_slip.locator("#roll-out")).to_have_text("Roll out: 9 sampled")
    at_slip.locator(".rollout-form .settings > summary").click()
    at_slip.get_by_role("button", name="Back to the defaults").click()
    expect(at_slip.locator("#roll-out")).to_have_text("Roll out: 64 sampled")


def test_without_a_reference_answer_it_is_asked_for(open_page, demo, fresh):
    page = open_page(f"{demo.url}/?trace={fresh(verdict=None)['id']}&token={SLIP}")
    page.locator("#roll-out").click()
    expect(page.locator("#rollout-answer")).to_be_focused()
    page.locator("#rollout-answer").fill("92")
    page.locator("#roll-out").click()
    expect(page.locator("#panel .finding strong")).to_be_visible()
    assert demo.call("GET", f"/v1/rollouts/{run_of(page)}")["answer"] == "92"


def test_a_run_is_stopped_and_keeps_what_it_has(at_slip, demo, crowd):
    settle(at_slip, ".rollout-form .settings", rollouts_samples=MANY)
    at_slip.locator("#roll-out").click()
    bar = at_slip.locator(".run-bar")
    drawn(at_slip)
    bar.get_by_role("button", name="Stop").click()
    expect(at_slip.locator("#panel .run-words")).to_have_text("Stopped: what was drawn is kept.")
    expect(bar).to_be_hidden()
    stored = demo.call("GET", f"/v1/rollouts/{run_of(at_slip)}")
    assert stored["stopped"] and 0 < len(stored["rollouts"]) < 2 * MANY
    expect(at_slip.locator(".fork-head")).to_contain_text(f"{len(stored['rollouts']):,} rollouts")


def test_a_run_goes_on_after_a_reload_and_in_another_tab(at_slip, open_page, demo, crowd):
    settle(at_slip, ".rollout-form .settings", rollouts_samples=MANY)
    at_slip.locator("#roll-out").click()
    before = drawn(at_slip)
    at_slip.reload()
    other = open_page(at_slip.url)
    assert drawn(at_slip, more_than=before) > before
    expect(other.locator(".run-bar")).to_contain_text("Rollouts at token 4")
    other.locator(".run-bar").get_by_role("button", name="Stop").click()
    for page in (at_slip, other):
        expect(page.locator("#panel .run-words")).to_have_text("Stopped: what was drawn is kept.")
    assert len(demo.call("GET", f"/v1/rollouts/{run_of(at_slip)}")["rollouts"]) > before


def test_a_search_is_seen_live_until_the_token_is_found(open_page, demo, fresh):
    trace = fresh()
    page = open_page(f"{demo.url}/?trace={trace['id']}")
    settle(page, ".search .settings", search_budget=1)
    page.get_by_role("button", name="Find the critical token").click()
    expect(page.locator(".search .run-words")).to_contain_text("Critical token found")
    found = demo.call("GET", f"/v1/searches/{run_of(page)}")
    expect(page.locator(".strip .seen")).to_have_count(len(found["positions"]))
    expect(page.locator(".strip .leading.found")).to_have_count(1)
    expect(page.locator(".search")).to_contain_text(f"{found['usage']['samples']} rollouts")
    page.locator("#select-critical").click()
    expect(page.locator(".tok.chosen")).to_have_id(f"t{found['critical']}")
    # On one axis with the chart above.
    chart, strip = page.locator(".chart-canvas").bounding_box(), page.locator(".strip").bounding_box()
    assert (strip["x"], strip["width"]) == pytest.approx((chart["x"], chart["width"]), abs=0.5)
    page.mouse.click(strip["x"] + strip["width"] * 10.5 / len(trace["tokens"]), strip["y"] + 20)
    expect(page.locator(".tok.chosen")).to_have_id("t10")
    page.locator(".search-positions > summary").click()
    expect(page.locator(".search-table tbody tr")).to_have_count(len(found["positions"]))
    # What it found can be looked at by the measure of rollouts at once.
    expect(page.locator("#measure option[value=success]")).to_be_enabled()


def test_a_search_is_stopped_and_another_is_chosen(open_page, demo, fresh):
    trace = fresh()
    page = open_page(f"{demo.url}/?trace={trace['id']}")
    page.get_by_role("button", name="Find the critical token").click()
    expect(page.locator("#select-critical")).to_be_visible()
    first = run_of(page)
    page.locator(".search-again > summary").click()
    settle(page, ".search .settings", search_samples=1024)
    page.locator("#search-strategy").select_option("exhaustive")
    page.locator("#find-critical").click()
    page.locator(".search").get_by_role("button", name="Stop").click()
    expect(page.locator(".search .run-words")).to_contain_text("Stopped")
    # The address follows a moment later.
    page.wait_for_function("id => !location.search.includes(id)", arg=first)
    which = page.get_by_label("Which search")
    expect(which.locator("option")).to_have_count(2)
    which.select_option(first)
    expect(page).to_have_url(re.compile(first))
    expect(page.locator(".search .run-words")).not_to_contain_text("Stopped")


def test_runs_survive_a_restart_of_the_server(open_page, demo, fresh, crowd):
    page = open_page(f"{demo.url}/?trace={fresh()['id']}&token={SLIP}", allow=("ERR_", "503"))
    settle(page, ".rollout-form .settings", rollouts_samples=MANY)
    page.locator("#roll-out").click()
    before = drawn(page)
    demo.restart()
    drawn(page, more_than=before)
    page.locator(".run-bar").get_by_role("button", name="Stop").click()
    expect(page.locator("#panel .run-words")).to_have_text("Stopped: what was drawn is kept.")
    kept = demo.call("GET", f"/v1/rollouts/{run_of(page)}")["rollouts"]
    assert len({(one["alternative"], one["index"]) for one in kept}) == len(kept) > before


def test_a_run_that_fails_says_why(at_slip):
    failed = {"event": "state", "state": "failed", "error": {"code": "internal", "message": "the device is gone"}}
    events = f"id: 1\ndata: {json.dumps(failed)}\n\ndata: [DONE]\n\n"
    at_slip.route("**/v1/runs/*/events", lambda route: route.fulfill(content_type="text/event-stream", body=events))
    at_slip.locator("#roll-out").click()
    expect(at_slip.locator("#panel .run-words")).to_have_text("Failed: the device is gone")
    at_slip.locator("#panel").get_by_role("button", name="Dismiss").click()
    expect(at_slip.locator("#panel .rollout-panel")).to_be_hidden()
    expect(at_slip.locator(".run-bar")).to_be_hidden()


def test_stored_rollouts_and_searches_are_there_at_once(open_page, demo, source):
    page = open_page(f"{demo.url}/?trace={WRONG}")
    expect(page.locator(".strip .seen")).to_have_count(len(source["searches"][-1]["positions"]))
    page.locator(".fork-list button").first.click()
    stored = source["rollouts"][-1]
    expect(page).to_have_url(re.compile(f"token={stored['position']}.*run={stored['id']}"))
    expect(page.locator("#fork-title")).to_contain_text(f"Fork at token {stored['position']}")
    expect(rate(page, 0)).to_contain_text(f"{stored['original']['correct']}/{stored['original']['samples']}")
    page.locator("#t2").click()
    expect(page).not_to_have_url(re.compile("run="))
    expect(page.locator(".fork")).to_be_hidden()


def test_the_tree_is_walked_by_keys(rolled):
    tree = rolled.locator("#fork-tree")
    rows = tree.get_by_role("treeitem")
    expect(rows.first).to_contain_text("the response’s own")
    for group in (rolled.made["original"], rolled.made["alternatives"][0]):
        row = tree.locator(".tree-token").nth(0 if group is rolled.made["original"] else 1)
        expect(row).to_contain_text(f"64 rollouts: {group['correct']} right, {group['samples'] - group['correct']} wrong")
    tree.focus()
    active = lambda: rolled.locator(f"#{tree.get_attribute('aria-activedescendant')}")  # noqa: E731
    rolled.keyboard.press("Home")
    expect(active()).to_have_attribute("aria-level", "1")
    rolled.keyboard.press("ArrowLeft")
    expect(active()).to_have_attribute("aria-expanded", "false")
    expect(rows.nth(1)).to_have_attribute("aria-level", "1")
    rolled.keyboard.press("ArrowRight")
    expect(active()).to_have_attribute("aria-expanded", "true")
    rolled.keyboard.press("ArrowRight")
    expect(active()).to_have_attribute("aria-level", "2")
    rolled.keyboard.press("ArrowLeft")
    if active().get_attribute("aria-level") == "2":
        rolled.keyboard.press("ArrowLeft")
    expect(active()).to_have_attribute("aria-level", "1")
    rolled.keyboard.press("End")
    expect(active()).to_have_id(rows.last.get_attribute("id"))
    rolled.keyboard.press("Home")
    rolled.keyboard.press("ArrowDown")
    rolled.keyboard.press("Enter")
    expect(active()).to_have_attribute("aria-selected", "true")
    expect(rolled.locator(".detail")).to_be_visible()
    # The arrows walk the tree, not the tokens.
    expect(rolled.locator(".tok.chosen")).to_have_id(f"t{SLIP}")


def test_every_rollout_is_in_the_tree(rolled):
    rolled.evaluate(
        """async () => {
      const { treeOf } = await import('/js/fork-tree.js');
      const { whole, rolloutParts } = await import('/js/rollout-full.js');
      const id = new URLSearchParams(location.search).get('run');
      const set = await (await fetch(`/v1/rollouts/${id}`)).json();
      const trace = await (await fetch(`/v1/traces/${set.trace_id}`)).json();
      const leaves = [];
      const walk = (node, text) => {
        const all = node.alternative === undefined ? text + node.text : text;
        if (!node.children.length) leaves.push(...node.rollouts.map((one) => [one, all]));
        else for (const child of node.children) walk(child, all);
      };
      for (const root of treeOf(set)) walk(root, '');
      if (leaves.length !== set.rollouts.length) throw new Error(`${leaves.length} leaves`);
      for (const [one, text] of leaves) {
        if (one.text !== text) throw new Error(`${one.text} | ${text}`);
        const full = whole(rolloutParts(trace, set, one));
        if (new TextEncoder().encode(full).length !== one.start + new TextEncoder().encode(one.text).length) throw new Error(full);
        const [from, to] = one.verdict.span;
        if (full.slice(from, to) !== one.verdict.extracted) throw new Error(full.slice(from, to));
      }
    }"""
    )


def choose_leaf(page, alternative: int, right: bool):
    """Chooses the first rollout with this verdict after one of the tokens; unfolds on the way."""
    page.evaluate("() => document.querySelector('#fork-tree').focus()")
    for _ in range(40):
        rows = page.locator("#fork-tree .tree-row")
        token = page.locator("#fork-tree .tree-token").nth(alternative)
        start = int(token.get_attribute("data-row"))
        for index in range(start + 1, rows.count()):
            row = rows.nth(index)
            if "tree-token" in row.get_attribute("class"):
                break
            told = row.inner_text()
            if ("✓" in told) != right and not (right and row.get_attribute("aria-expanded") == "true"):
                continue
            if row.locator(".tree-answer").count():
                row.click()
                return
            if row.get_attribute("aria-expanded") == "false":
                row.locator(".tree-turn").click()
                break
    raise AssertionError("no such rollout")


def test_a_rollout_is_read_whole_and_compared(rolled):
    choose_leaf(rolled, 1, True)
    expect(rolled.locator(".detail-head")).to_contain_text("✓ correct, answers 92")
    sides = rolled.locator(".sides .model-text")
    expect(sides.nth(0).locator("del").first).to_have_text("+")
    expect(sides.nth(1).locator("ins").first).to_have_text("-")
    assert sides.nth(0).locator("ins").count() == 0 and sides.nth(1).locator("del").count() == 0
    style = sides.nth(0).locator("del").first.evaluate("one => getComputedStyle(one).textDecorationLine")
    assert style == "line-through"
    rolled.locator("#compare-with").select_option("")
    expect(rolled.locator("#rollout-text .forced")).to_have_text(" -")
    expect(rolled.locator("#rollout-text .read")).to_have_text("92")
    expect(rolled.locator("#rollout-text")).to_contain_text("Sam: 28 - 3 = 25.")
    other = rolled.locator("#compare-with optgroup").first.locator("option").first.get_attribute("value")
    rolled.locator("#compare-with").select_option(other)
    expect(rolled.locator(".sides .side-label").first).to_contain_text("after ·+")


@pytest.mark.parametrize(
    "first, second, told",
    [
        ("a b c", "a b c", [["same", "a b c"]]),
        ("a b c", "a x c", [["same", "a"], ["first", " b"], ["second", " x"], ["same", " c"]]),
        ("", "one two", [["second", "one two"]]),
        ("a b c d", "a c d e", [["same", "a"], ["first", " b"], ["same", " c d"], ["second", " e"]]),
    ],
)
def test_texts_are_compared_word_by_word(open_page, demo, first, second, told):
    page = open_page(demo.url)
    script = """async ([first, second]) => {
      const { difference } = await import('/js/rollout-diff.js');
      return difference(first, second).map(({ kind, text }) => [kind, text]);
    }"""
    assert page.evaluate(script, [first, second]) == told


def test_pass_at_k_is_drawn_and_told(rolled):
    chart = rolled.locator(".pass-chart")
    expect(chart.locator("polyline")).to_have_count(2)
    expect(chart).to_contain_text("with ·+")
    rolled.locator(".pass summary").click()
    last = rolled.locator(".pass-table tbody tr").last
    expect(last.locator("th")).to_have_text("64")
    without = rolled.made["without_token"]["pass_at_k"]["64"]
    expect(last.locator("td").last).to_have_text(f"{without * 100:.0f}%")


def test_live_counts_are_the_servers(open_page, demo):
    page = open_page(demo.url)
    script = """async () => {
      const { wilson, passAtK } = await import('/js/rollout-stats.js');
      return [wilson(0, 32), wilson(32, 32), wilson(3, 17), passAtK(3, 6)];
    }"""
    none, all_right, some, passed = page.evaluate(script)
    assert none == pytest.approx([0, 0.1071792], abs=1e-6) and all_right == pytest.approx([0.8928208, 1], abs=1e-6)
    assert some == pytest.approx([0.0618822, 0.4102787], abs=1e-3)
    assert passed == pytest.approx({"1": 0.5, "2": 0.8, "4": 1.0, "6": 1.0})


def test_a_pair_is_added_once(rolled, demo, source):
    rolled.locator("#panel .pair-button").click()
    dialog = rolled.get_by_role("dialog")
    expect(dialog.locator(".rejected .own")).to_have_text("+ 3 = 31. Zoe: 31 + 14 = 45. 28 + 31 + 45 = 102. #### 102")
    expect(dialog.locator(".chosen .shared")).to_have_text("Sam: 28 ")
    dialog.get_by_label("Name of the new data set").fill("no spaces please")
    dialog.get_by_role("button", name="Add the pair").click()
    expect(dialog.get_by_role("alert")).to_contain_text("1 to 64 of")
    dialog.get_by_label("Name of the new data set").fill("from-rollouts")
    dialog.get_by_role("button", name="Add the pair").click()
    added = rolled.locator(".fork .banner")
    expect(added).to_contain_text("from-rollouts has 1 row")
    expect(added.get_by_role("link", name="See the data set")).to_have_attribute("href", "/?view=data&dataset=from-rollouts")
    expect(added.get_by_role("link", name="Train on it")).to_have_attribute("href", "/?view=jobs&job=new&dataset=from-rollouts")
    (row,) = demo.call("GET", "/v1/datasets/from-rollouts/rows")["data"]
    assert row["prompt"] == source["prompt"]["text"] and row["rejected"] == source["response"]["text"]
    assert row["rejected_weights"] == pytest.approx([1 - token["score"] for token in source["tokens"]])
    plan = {"kind": "preference", "config": {"dataset": "from-rollouts"}, "dry_run": True}
    assert demo.call("POST", "/v1/jobs", plan)["dropped"] == [], "cDPO takes the pair as it is"
    right = [one for one in rolled.made["rollouts"] if one["verdict"]["status"] == "correct"]
    assert row["chosen"] in {"Sam: 28 -" + one["text"] for one in right if one["alternative"] == 0}
    # It tokenises with the prompt as it was drawn.
    drawn = next(one for one in right if row["chosen"].endswith(one["text"]))
    ids = demo.call("POST", "/tokenize", {"prompt": row["prompt"] + row["chosen"]})["tokens"]
    kept = [token["id"] for token in source["tokens"][:SLIP]]
    forced = rolled.made["alternatives"][0]["token"]["id"]
    wanted = source["prompt"]["token_ids"] + [*kept, forced, *drawn["token_ids"]]
    assert ids == wanted[: len(ids)] and len(wanted) - len(ids) <= 1, "but for the end of the sequence"

    rolled.locator("#panel .pair-button").click()
    expect(dialog.locator("#pair-dataset")).to_have_value("from-rollouts")
    dialog.get_by_role("button", name="Add the pair").click()
    expect(dialog.get_by_role("alert")).to_have_text("from-rollouts has this pair already.")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(demo.call("GET", "/v1/datasets/from-rollouts/rows")["data"]) == 1


def test_a_wrong_rollout_is_rejected_for_a_right_one(rolled):
    choose_leaf(rolled, 0, False)
    rolled.locator("#add-pair").click()
    dialog = rolled.get_by_role("dialog")
    expect(dialog.locator("#pair-rejected option:checked")).to_contain_text("✗ ·+")
    expect(dialog.locator("#pair-chosen option:checked")).to_contain_text("✓ ·-")


def test_a_link_opens_the_same_rollouts(rolled, open_page, demo):
    again = open_page(rolled.url)
    expect(again.locator("#fork-title")).to_contain_text(f"Fork at token {SLIP}")
    see = "() => [document.querySelector('.rates').textContent, document.querySelector('#fork-tree').textContent]"
    expect(again.locator("#fork-tree .tree-row").first).to_be_visible()
    assert again.evaluate(see) == rolled.evaluate(see)
    # Also when another token is chosen, and when none is.
    bare = open_page(f"{demo.url}/?trace={rolled.made['trace_id']}&run={rolled.made['id']}")
    expect(bare.locator("#fork-title")).to_contain_text(f"Fork at token {SLIP}")


def test_on_a_phone(rolled, open_page):
    page = open_page(rolled.url, **PHONE)
    sheet = page.locator("#panel")
    expect(sheet.locator(".rates")).to_be_attached()
    sheet.get_by_role("button", name="Tree and texts").tap()
    expect(sheet).to_be_hidden()
    expect(page.locator("#fork-tree")).to_be_in_viewport()
    page.locator("#fork-tree .tree-row").nth(2).tap()
    expect(page.locator(".inline-text")).to_be_visible()
    expect(page.locator(".sides")).to_be_hidden()
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert not page.evaluate("document.querySelector('#frame').scrollWidth > innerWidth"), width


def test_names_and_contrast(rolled):
    from test_layout import CONTRAST, UNNAMED

    choose_leaf(rolled, 1, True)
    assert rolled.evaluate(UNNAMED) == []
    for scheme in ("light", "dark"):
        rolled.emulate_media(color_scheme=scheme)
        assert rolled.evaluate(CONTRAST) == [], scheme
