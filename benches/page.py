#!/usr/bin/env python3
"""How fast the page is: a trace of 4,000 tokens and a list of 10,000 traces, in headless Chromium on the demo's server.

    LINCHPIN_BIN=target/release/linchpin python3 benches/page.py

Needs Playwright for Python and Debian's chromium; the server is started here, with a data folder of its own. Times are
from the event to the first moment after the next frame, so that style, layout and paint are in them. Openings are in
browsers of their own, which nothing watches: a driver that follows every request doubles them.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/browser"))

from playwright.sync_api import sync_playwright

from conftest import CHROMIUM, FLAGS, demo_server, jsonl

# The page marks the moment at which a trace's first frame is out.
MARK = "trace shown"
# Seconds for a browser to start, and for a page to be done.
SETTLING = 3
NEXT_FRAME = "const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));"
TIMED = (
    "async (times) => {"
    + NEXT_FRAME
    + """
  const timed = async (act) => {
    const took = [];
    for (let i = 0; i < times; i += 1) {
      await frame();
      const began = performance.now();
      act(i / times);
      await frame();
      took.push(performance.now() - began);
    }
    return took;
  };
  const slider = document.querySelector('#threshold');
  const tokens = document.querySelectorAll('#response .tok');
  const point = (token) => token.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse' }));
  const idle = await timed(() => {});
  // From one end of the scale to the other, and as a hand moves it.
  const sweep = await timed((part) => {
    slider.value = String(50 + part * 900);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
  });
  const drag = await timed((part) => {
    slider.value = String(600 + part * 60);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
  });
  const hover = await timed((part) => point(tokens[Math.floor(part * 40)]));
  const far = await timed((part) => point(tokens[Math.floor(part * tokens.length)]));
  return { idle, sweep, drag, hover, far };
}"""
)


def long_trace(of: dict, tokens: int, number: int, lines: bool) -> dict:
    """A trace of so many tokens: another's over and over, in lines or all in one."""
    text = of["response"]["text"]
    n, size = len(of["tokens"]), len(text.encode())
    if lines:
        text = text.replace(". ", ".\n")
    repeated = [
        {
            **of["tokens"][i % n],
            "position": i,
            "start": of["tokens"][i % n]["start"] + size * (i // n),
            "end": of["tokens"][i % n]["end"] + size * (i // n),
            "critical": False,
        }
        for i in range(tokens)
    ]
    whole = (text * (tokens // n + 1)).encode()[: repeated[-1]["end"]].decode()
    return {
        **of,
        "id": f"trace_01M8AAJ6CF85RRF8YG8DCJ{number:04}",
        "tokens": repeated,
        "critical": [],
        "rule": {"rule": "threshold", "value": 1e-9},
        "verdict": None,
        "response": {**of["response"], "text": whole},
        "usage": {**of["usage"], "response_tokens": tokens},
    }


def told(name: str, took: list[float]) -> str:
    return f"  {name:<44} median {statistics.median(took):6.1f} ms, longest {max(took):6.1f} ms"


@contextmanager
def lone_browser():
    """A new browser that nothing watches, as a reader's; its address for DevTools."""
    # Its last files may still be written while the folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--remote-debugging-port=0", "--window-size=1400,900", f"--user-data-dir={profile}"]
        process = subprocess.Popen([CHROMIUM, *FLAGS, *flags, "about:blank"], stderr=subprocess.PIPE, text=True)
        try:
            for line in process.stderr:
                if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
                    break
            time.sleep(SETTLING)
            yield f"http://{found[1]}"
        finally:
            process.terminate()
            process.wait()


def measure_opening(playwright, address: str, browsers: int = 3) -> None:
    painted, shown = [], []
    for _ in range(browsers):
        with lone_browser() as devtools:
            tab = urllib.request.Request(f"{devtools}/json/new?{address}", method="PUT")
            urllib.request.urlopen(tab).close()
            time.sleep(SETTLING)
            browser = playwright.chromium.connect_over_cdp(devtools)
            page = next(page for page in browser.contexts[0].pages if page.url == address)
            at = page.evaluate("name => performance.getEntriesByName(name).map(({ startTime }) => startTime)", MARK)
            shown += at
            painted += page.evaluate("performance.getEntriesByType('paint').slice(-1).map(({ startTime }) => startTime)")
            browser.close()
    print(told("first visit: first contentful paint", painted))
    print(told("first visit: all tokens there, first frame", shown))


def measure_moves(browser, address: str, times: int) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(address)
    page.wait_for_selector("#response .tok")
    page.wait_for_load_state("networkidle")
    took = page.evaluate(TIMED, times)
    page.context.close()
    print(told("nothing, for the frame's own time", took["idle"]))
    print(told("threshold, swept over the whole scale", took["sweep"]))
    print(told("threshold, dragged", took["drag"]))
    print(told("pointing at tokens in sight", took["hover"]))
    print(told("pointing at tokens all over the trace", took["far"]))


def measure_list(browser, url: str, traces: int) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(url)
    page.wait_for_selector(".row")
    rows, took = [], []
    for part in (0.1, 0.25, 0.5, 0.75, 0.9, 1):
        took.append(
            page.evaluate(
                "async (part) => {"
                + NEXT_FRAME
                + """
                const list = document.querySelector('.rows-scroll');
                const began = performance.now();
                list.scrollTop = (list.scrollHeight - list.clientHeight) * part;
                const box = list.getBoundingClientRect();
                const whole = () => document.elementFromPoint(box.left + 40, box.top + box.height / 2)?.closest('.row');
                do await frame(); while (!whole());
                return performance.now() - began;
            }""",
                part,
            )
        )
        rows.append(page.evaluate("document.querySelectorAll('.rows li').length"))
    print(f"list of {traces} traces: {min(rows)} to {max(rows)} rows in the document")
    print(told("a jump in the list, until its rows are there", took))
    page.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20, help="moves of each kind")
    arguments = parser.parse_args()
    with demo_server() as server, sync_playwright() as playwright:
        listed = server.call("GET", "/v1/traces?limit=1&verdict=wrong")["data"][0]["id"]
        trace = server.call("GET", f"/v1/traces/{listed}")
        trace.pop("rollouts", None)
        trace.pop("searches", None)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        print(f"{server.url}, Chromium {browser.version}")
        for number, lines in enumerate((True, False)):
            long = long_trace(trace, arguments.tokens, number, lines)
            report = server.call("POST", "/v1/traces/import", jsonl(long), "application/x-ndjson")
            assert report["imported"] == 1, report
            print(f"trace of {arguments.tokens} tokens, {'in lines' if lines else 'in one line'}")
            address = f"{server.url}/?trace={long['id']}"
            measure_opening(playwright, address)
            measure_moves(browser, address, arguments.times)
        if arguments.traces:
            many = [{**trace, "id": f"trace_01M8AAJ6CF85RRF8YG8D{i:06}"} for i in range(arguments.traces)]
            report = server.call("POST", "/v1/traces/import", jsonl(*many), "application/x-ndjson")
            assert report["imported"] == arguments.traces, json.dumps(report)[:300]
            measure_list(browser, server.url, arguments.traces)
        browser.close()


if __name__ == "__main__":
    main()
