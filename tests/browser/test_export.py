"""What leaves the page: the export menu, files with and without a key, the picture, and the page that needs no server."""

import json
import re
import struct

import pytest
from playwright.sync_api import expect

from conftest import PROMPT, RESPONSE


@pytest.fixture
def opened(open_page, demo):
    """A wrong response of the demo, with the menu's button in sight."""
    [row] = demo.call("GET", "/v1/traces?verdict=wrong&limit=1")["data"]
    page = open_page(f"{demo.url}/?trace={row['id']}", permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator("#response .tok").first).to_be_visible()
    return page


def trace_id(page) -> str:
    return re.search(r"trace=(trace_\w+)", page.url)[1]


def item(page, name: str):
    page.get_by_role("button", name="Export").click()
    return page.get_by_role("menuitem", name=re.compile(f"^{name}"))


def test_files_download(opened):
    for kind in ("jsonl", "csv", "html"):
        with opened.expect_download() as waiting:
            item(opened, kind.upper()).click()
        assert waiting.value.suggested_filename == f"{trace_id(opened)}.{kind}"
        text = waiting.value.path().read_text()
        assert text.strip()
        if kind == "jsonl":
            assert json.loads(text)["id"] == trace_id(opened)
    expect(opened.get_by_role("menu")).to_be_hidden()


def test_files_download_with_a_key(open_page, keyed):
    scored = keyed.score(PROMPT, RESPONSE)
    page = open_page(keyed.url, allow=("401",))
    page.get_by_role("dialog").get_by_label("Key").fill(keyed.key)
    page.keyboard.press("Enter")
    page.locator(f"#side li[data-id='{scored['id']}'] a").click()
    for kind in ("jsonl", "csv", "html"):
        with page.expect_download() as waiting:
            item(page, kind.upper()).click()
        assert scored["id"] in waiting.value.path().read_text() or kind == "csv"
        assert waiting.value.suggested_filename == f"{scored['id']}.{kind}"
    keyed.call("DELETE", f"/v1/traces/{scored['id']}")


def test_the_menu_is_walked_by_keys(opened):
    button = opened.get_by_role("button", name="Export")
    button.focus()
    opened.keyboard.press("ArrowDown")
    expect(button).to_have_attribute("aria-expanded", "true")
    focused = lambda name: expect(opened.get_by_role("menuitem", name=re.compile(f"^{name}"))).to_be_focused()
    focused("PNG")
    opened.keyboard.press("ArrowDown")
    focused("HTML")
    opened.keyboard.press("End")
    focused("Copy link")
    opened.keyboard.press("ArrowDown")
    focused("PNG")
    opened.keyboard.press("c")
    focused("CSV")
    assert "view=compare" not in opened.url
    opened.keyboard.press("Escape")
    expect(opened.get_by_role("menu")).to_be_hidden()
    expect(button).to_be_focused()
    opened.keyboard.press("ArrowUp")
    focused("Copy link")
    opened.keyboard.press("Enter")
    expect(opened.locator(".toast")).to_have_text("The link was copied.")
    assert opened.evaluate("navigator.clipboard.readText()") == opened.url
    button.click()
    opened.mouse.click(700, 700)
    expect(opened.get_by_role("menu")).to_be_hidden()


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


COLOURS = """async (address) => {
  const image = await createImageBitmap(await (await fetch(address)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const found = {};
  for (let i = 0; i < data.length; i += 4) {
    const key = [data[i], data[i + 1], data[i + 2]].join(' ');
    found[key] = (found[key] ?? 0) + 1;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_shows_what_is_seen(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.get_by_label("Threshold, exact value").fill("0.5")
    opened.keyboard.press("Enter")
    with opened.expect_download() as waiting:
        item(opened, "PNG").click()
    assert waiting.value.suggested_filename == f"{trace_id(opened)}.png"
    png = waiting.value.path().read_bytes()
    width, height = size(png)
    assert width == 2 * 920 and height > 400
    # In the page's own colours: its paper, and the background of its most suspicious token.
    opened.route("**/picture.png", lambda route: route.fulfill(body=png, content_type="image/png"))
    colours = opened.evaluate(COLOURS, "/picture.png")
    paper = {"light": "252 252 251", "dark": "21 24 28"}[scheme]
    assert max(colours, key=colours.get) == paper
    orange = {"light": "217 101 10", "dark": "232 128 47"}[scheme]
    assert colours.get(orange, 0) > 50, "the marks of flagged tokens"
    # Another measure, another picture.
    opened.locator("#measure").select_option("success")
    with opened.expect_download() as again:
        item(opened, "PNG").click()
    assert again.value.path().read_bytes() != png


def test_the_exported_page_needs_no_network(opened, chromium, tmp_path):
    with opened.expect_download() as waiting:
        item(opened, "HTML").click()
    tokens = opened.locator("#response").text_content()
    context = chromium.new_context(offline=True)
    page = context.new_page()
    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    page.goto(file.as_uri())
    expect(page.locator("pre.response")).to_contain_text(tokens[:20])
    assert len(asked) == 1 and not problems
    context.close()
