"""The page on a phone, in the dark, by keyboard, for assistive tools, and at scale."""

import re

import pytest
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SIDEWAYS = "() => document.scrollingElement.scrollWidth > innerWidth || document.querySelector('#frame').scrollWidth > innerWidth"


SIGHTS = ["", "?view=new", "?view=models", "?trace={id}&token=4&threshold=0.5"]


def see(open_page, server, trace, sight, **options):
    """Opens a sight and waits until it is filled."""
    page = open_page(f"{server.url}/{sight.format(id=trace['id'])}", **options)
    filled = ".models-table" if "models" in sight else ".tok.chosen" if "trace" in sight else "#side .rows li"
    expect(page.locator(filled).first).to_be_attached()
    return page


@pytest.mark.parametrize("sight", SIGHTS)
def test_nothing_scrolls_sideways(open_page, server, trace, sight):
    page = see(open_page, server, trace, sight)
    for width in (1000, 700, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert not page.evaluate(SIDEWAYS), width


def test_on_a_phone_the_numbers_are_a_sheet_from_below(open_page, server, trace):
    page = open_page(server.url, **PHONE)
    page.locator(f"#side li[data-id='{trace['id']}'] a").tap()
    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator("#panel")).to_be_hidden()
    last = len(trace["tokens"]) - 1
    page.locator(f"#t{last}").tap()
    sheet = page.locator("#panel")
    expect(sheet).to_be_visible()
    page.wait_for_timeout(700)
    box, token = sheet.bounding_box(), page.locator(f"#t{last}").bounding_box()
    assert box["y"] + box["height"] == pytest.approx(844, abs=1) and box["width"] == 390
    assert token["y"] + token["height"] <= box["y"], "the sheet hides the token"
    expect(page.locator(".legend")).to_be_in_viewport()
    sheet.get_by_role("button", name=re.compile("Let go")).tap()
    expect(sheet).to_be_hidden()
    page.get_by_role("link", name="‹ Traces").tap()
    expect(page.locator("#side")).to_be_visible()


def test_light_and_dark(open_page, server, trace):
    page = open_page(f"{server.url}/?trace={trace['id']}", color_scheme="dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(21, 24, 28)"
    page.keyboard.press("t")
    assert page.evaluate(paper) == "rgb(252, 252, 251)"
    page.reload()
    assert page.evaluate(paper) == "rgb(252, 252, 251)", "the choice is remembered"
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(paper) == "rgb(21, 24, 28)"


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const paint = (layers) => { canvas.clearRect(0, 0, 1, 1);
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = (rgb) => { const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const low = [];
  for (const one of document.querySelectorAll('body *')) {
    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) || !one.checkVisibility()) continue;
    if (one.closest('.unseen, .skip, :disabled')) continue;
    const layers = [];
    for (let up = one; up; up = up.parentElement) layers.unshift(getComputedStyle(up).backgroundColor);
    const [under, ink] = [light(paint(layers)), light(paint([...layers, getComputedStyle(one).color]))];
    const ratio = (Math.max(under, ink) + 0.05) / (Math.min(under, ink) + 0.05);
    if (ratio < 4.5) low.push(`${one.className || one.tagName} "${one.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return low; }"""

UNNAMED = """() => {
  const wrong = [];
  for (const one of document.querySelectorAll('button, a[href], input, select, textarea')) {
    if (!one.checkVisibility()) continue;
    const label = one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.[0]?.textContent.trim();
    if (!label) wrong.push(one.outerHTML.slice(0, 80));
  }
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  wrong.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `twice: ${id}`));
  for (const one of document.querySelectorAll('[aria-controls], [aria-labelledby], [aria-describedby], [aria-activedescendant]'))
    for (const name of ['aria-controls', 'aria-labelledby', 'aria-describedby', 'aria-activedescendant'])
      for (const id of (one.getAttribute(name) ?? '').split(' ').filter(Boolean)) if (!document.getElementById(id)) wrong.push(`${name} ${id}`);
  if (document.querySelectorAll('h1').length !== 1 && !document.querySelector('.state h2')) wrong.push('not one h1');
  if (document.querySelector('[style]:not([style^="--"])')) wrong.push('a style attribute');
  return wrong; }"""


@pytest.mark.parametrize("sight", SIGHTS)
def test_names_and_contrast(open_page, server, trace, sight):
    page = see(open_page, server, trace, sight)
    assert page.evaluate(UNNAMED) == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == [], scheme


def test_everything_is_reached_by_keyboard_with_a_visible_focus(opened):
    reached, rings = set(), []
    for _ in range(60):
        opened.keyboard.press("Tab")
        name, ring = opened.evaluate(
            "() => { const one = document.activeElement; const style = getComputedStyle(one);"
            " const ring = getComputedStyle(one.matches('.switch input') ? one.nextElementSibling : one);"
            " return [(one === document.body && 'BODY') || one.id || one.textContent.trim() || one.name || one.tagName, ring.outlineStyle !== 'none' && parseFloat(ring.outlineWidth) >= 1]; }"
        )
        reached.add(name)
        if not ring:
            rings.append(name)
    assert {"search", "filter-button", "measure", "threshold", "threshold-value", "response", "delete-trace", "Models"} <= reached
    assert not [name for name in rings if name != "BODY"]


def test_the_response_is_walked_by_arrows(opened, trace):
    opened.locator("#response").focus()
    opened.keyboard.press("ArrowRight")
    expect(opened.locator("#response")).to_have_attribute("aria-activedescendant", "t0")
    opened.keyboard.press("ArrowDown")
    chosen = int(opened.locator(".tok.chosen").get_attribute("id")[1:])
    first = next(i for i, token in enumerate(trace["tokens"]) if "\n" in token["text"])
    assert chosen > first, "down goes to the next line"
    opened.keyboard.press("ArrowUp")
    expect(opened.locator(".tok.chosen")).to_have_id("t0")
    expect(opened.locator("#panel [aria-live], #panel + [aria-live], [aria-live].unseen").first).to_contain_text("Token 0")


def test_help_opens_and_keys_rest_meanwhile(opened):
    opened.keyboard.press("?")
    dialog = opened.get_by_role("dialog")
    expect(dialog).to_contain_text("next and previous flagged token")
    opened.keyboard.press("t")
    assert opened.evaluate("document.documentElement.dataset.theme ?? null") is None
    opened.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    opened.get_by_role("button", name=re.compile("help", re.I)).click()
    expect(dialog).to_be_visible()


def test_4096_tokens_are_shown_and_restyled_at_once(open_page, server, trace, variant):
    """A trace of the largest size, made of a real one's tokens over and over."""
    size = len(trace["response"]["text"].encode())
    tokens, base = [], trace["tokens"]
    for position in range(4096):
        turn, token = position // len(base), base[position % len(base)]
        shift = turn * size
        tokens.append({**token, "position": position, "start": token["start"] + shift, "end": token["end"] + shift})
    turns = -(-4096 // len(base))
    large = variant(
        response={**trace["response"], "text": trace["response"]["text"] * turns},
        tokens=tokens,
        critical=[token["position"] for token in tokens if token["critical"]],
        usage={**trace["usage"], "response_tokens": 4096},
    )
    page = open_page(f"{server.url}/?trace={trace['id']}")
    expect(page.locator("#response .tok").first).to_be_visible()
    took = page.evaluate(
        """async (id) => {
        const trace = await (await fetch(`/v1/traces/${id}`)).json();
        const [{ ResponseView }, { look }, { measureOf }] = await Promise.all(['response', 'sight', 'measures'].map((name) => import(`/js/${name}.js`)));
        const view = new ResponseView({ hover() {}, select() {} });
        document.querySelector('#main').append(view.root);
        const begun = performance.now();
        view.show(trace);
        const sight = look(trace, view.pieces, measureOf('score'), 'token');
        view.colour(sight, 0.05);
        view.root.offsetHeight;
        const built = performance.now() - begun;
        const moved = performance.now();
        for (let i = 1; i <= 10; i += 1) { view.colour(sight, i / 11); view.root.offsetHeight; }
        return { built, restyled: (performance.now() - moved) / 10, tokens: view.root.querySelectorAll('.tok').length };
      }""",
        large["id"],
    )
    assert took["tokens"] == 4096
    # Wide enough for any machine: a page that is rebuilt at every move, or in quadratic time, takes far longer.
    assert took["built"] < 1000, took
    assert took["restyled"] < 1000, took
