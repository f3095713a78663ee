"""Model text is data: markup stays text, no character is lost or halved, white space is visible."""

import pytest
from playwright.sync_api import expect

from conftest import PROMPT

MARKUP = ' <img src=x onerror=alert(1)><script>alert(2)</script> <b>"bold"</b> &lt; \'); alert(3) //'


def test_markup_stays_text(open_page, server):
    stored = server.score(f"<i>Question</i>{MARKUP}", f"{MARKUP}\nThe answer is <u>7</u>.", answer="<s>7</s>", tags=["<em>tag</em>"])
    page = open_page(f"{server.url}/?trace={stored['id']}&token=2")
    expect(page.locator("#response")).to_contain_text("<script>alert(2)</script>")
    expect(page.locator("#prompt-text")).to_contain_text("<i>Question</i>")
    for token in range(0, len(stored["tokens"]), 5):
        page.locator(f"#t{token}").hover()
    assert page.locator("main :is(img, script, i, b:not(.num, .facts b), u, s, em), aside :is(img, script, i, b, u, s, em)").count() == 0
    expect(page.locator(".tag").first).to_have_text("<em>tag</em>")


@pytest.mark.parametrize("text", [" 3 🧮 und 🇵🇱 – 数学は楽しい.", " naïve café ½ × 4 = 2 ✓", " שלום 12 עולם", " a\u202eb\u200bc"])
def test_characters_are_whole(open_page, server, text):
    stored = server.score(PROMPT, text)
    page = open_page(f"{server.url}/?trace={stored['id']}")
    expect(page.locator("#response .tok").first).to_be_visible()
    shown = page.locator("#response").text_content()
    assert "\ufffd" not in shown
    named = text.replace("\u202e", "⟨U+202E⟩").replace("\u200b", "⟨U+200B⟩")
    assert shown.replace("·", " ") == named.replace("·", " ")
    spans = {(token["start"], token["end"]) for token in stored["tokens"]}
    assert page.locator("#response .tok").count() <= len(spans)
    # Every token can be reached, the parts of a character too.
    page.locator("#response").focus()
    for position in range(len(stored["tokens"])):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#panel h2")).to_contain_text(f"Token {position} ")


def test_white_space_is_visible_and_copies_as_written(open_page, server):
    text = " one\n\n  two\tthree"
    stored = server.score(PROMPT, text)
    page = open_page(f"{server.url}/?trace={stored['id']}")
    expect(page.locator("#response")).to_contain_text("↵")
    page.locator("#response").evaluate("one => getSelection().selectAllChildren(one)")
    copied = page.evaluate(
        """() => { const data = new DataTransfer();
        document.querySelector('#response').dispatchEvent(new ClipboardEvent('copy', { clipboardData: data, bubbles: true }));
        return data.getData('text/plain'); }"""
    )
    assert copied == text


def test_pieces_and_units(page):
    """The cutting itself, on spans that few tokenizers make."""
    cut = page.evaluate(
        """async () => {
        const { cut, group } = await import('/js/pieces.js');
        const trace = (text, spans, straddles = false) => ({
          response: { text, straddles_boundary: straddles },
          tokens: spans.map(([start, end, own = '?']) => ({ start, end, text: own })) });
        const texts = (...given) => cut(trace(...given)).pieces.map((one) => one.text);
        const units = (list, by) => {
          let at = 0;
          const made = cut(trace(list.join(''), list.map((part) => [at, (at += new TextEncoder().encode(part).length)])));
          const { unitOf } = group(made.pieces, list.length, by);
          return Object.values(Object.groupBy(list, (_, i) => String(unitOf[i]).padStart(3, '0'))).map((parts) => parts.join('|'));
        };
        return {
          shared: texts('a🧮b', [[0, 1], [1, 5], [1, 5], [5, 6]]),
          overlapping: texts('x 🧮', [[0, 1], [1, 6], [2, 6]]),
          straddling: texts('b', [[0, 1, 'ab']], true),
          special: texts('a', [[0, 1], [1, 1, '<eos>']]),
          gap: texts('a  b', [[0, 1], [3, 4]]),
          mark: texts('\\ufeffa', [[0, 3], [3, 4]]),
          words: units([' She', ' keep', 's', ' ', '9', '4', '.', ' Then', '\\n', '\\n', '  ', 'next'], 'word'),
          steps: units(['It', ' is', ' ', '5', '.', '5', '.', ' Then', '!', ' ', 'So', '\\n', '\\n', 'end'], 'step'),
        };
      }"""
    )
    assert cut == {
        "shared": ["a", "🧮", "b"],
        "overlapping": ["x", " 🧮"],
        "straddling": ["ab"],
        "special": ["a", "<eos>"],
        "gap": ["a", "  ", "b"],
        "mark": ["\ufeff", "a"],
        "words": [" She", " keep|s", " |9|4|.", " Then|\n|\n|  ", "next"],
        "steps": ["It| is| |5|.|5|.", " Then|!| ", "So|\n|\n", "end"],
    }
