"""Fixtures of the browser suite: real servers, Debian's chromium, and pages that fail a test by what they should not do.

LINCHPIN_BIN           the program to test
LINCHPIN_TEST_MODEL    the SmolLM2 GGUF file
LINCHPIN_TEST_ADAPTERS a folder with the PEFT folders `positive` and `negative`
"""

import json
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from server import Server, from_environment

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Scoring with an unoptimised program on a busy machine takes seconds.
expect.set_options(timeout=15_000)

PROMPT = "Question: Ola buys 7 boxes of pens with 12 pens in each box. She gives 20 pens away. How many are left?\nAnswer:"
RESPONSE = " Ola buys 7 * 12 = 94 pens.\nShe gives 20 away, so 94 - 20 = 74 are left.\nThe answer is 74."
# Its own words and a tag, so that filters can find it.
RIGHT = " Ola buys 7 * 12 = 84 pens.\nShe gives 20 away, so 84 - 20 = 64 remain.\nThe answer is 64."


@pytest.fixture(scope="session")
def server():
    adapters = from_environment("LINCHPIN_TEST_ADAPTERS", "a folder with positive/ and negative/")
    with Server(
        "--positive", adapters / "positive", "--negative", adapters / "negative", "--adapters-dir", adapters
    ) as running:
        yield running


@pytest.fixture(scope="session")
def keyed():
    """A server that wants a key and has no adapters."""
    with Server(key="open sesame") as running:
        yield running


@contextmanager
def demo_server():
    """The built-in demo: a small model that answers at once, its adapters, and stored traces with searches and rollouts."""
    lines = sum(1 for _ in (Path(__file__).parents[2] / "demo/data/traces.jsonl").open())
    with Server(model=None) as running:
        # They are put into the store while the server answers already.
        deadline = time.monotonic() + 60
        while running.call("GET", "/v1/traces?limit=1")["total"] < lines:
            assert time.monotonic() < deadline, running.log()
            time.sleep(0.05)
        yield running


@pytest.fixture(scope="session")
def demo():
    with demo_server() as running:
        yield running


@pytest.fixture(scope="session")
def trace(server):
    """A wrong trajectory, scored and stored."""
    return server.score(PROMPT, RESPONSE, answer="64", tags=["pens"])


@pytest.fixture(scope="session")
def right(server):
    """A right one."""
    return server.score(PROMPT, RIGHT, answer="64", tags=["right-one"], critical={"rule": "threshold", "value": 0})


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens pages. What any of them logs as an error, throws, or asks of another origin fails the test."""
    contexts, wrong = [], []

    def open_one(url: str, allow: tuple[str, ...] = (), **options):
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        context = chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()

        def console(message):
            if message.type in ("error", "warning") and not any(part in message.text for part in allow):
                wrong.append(f"console {message.type}: {message.text} at {message.location['url']}")

        page.on("console", console)
        page.on("pageerror", lambda error: wrong.append(f"thrown: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: foreign(request, origin))
        page.goto(url)
        return page

    def foreign(request, origin):
        if not request.url.startswith((origin + "/", "blob:" + origin)):
            wrong.append(f"asked another origin: {request.url}")

    yield open_one
    for context in contexts:
        context.close()
    assert not wrong, wrong


@pytest.fixture
def page(open_page, server):
    return open_page(server.url)


@pytest.fixture
def opened(open_page, server, trace):
    """The wrong trajectory's trace, open."""
    page = open_page(f"{server.url}/?trace={trace['id']}")
    expect(page.locator("#response .tok").first).to_be_visible()
    return page


def threshold_for(trace: dict, flagged: int) -> float:
    """A threshold that flags so many tokens by s_t."""
    return sorted(token["score"] for token in trace["tokens"])[flagged - 1]


def flagged_at(trace: dict, threshold: float) -> list[int]:
    return [token["position"] for token in trace["tokens"] if token["score"] <= threshold]


@pytest.fixture
def variant(server, trace):
    """Stores a variant of the wrong trajectory's trace without scoring it again, and takes it away afterwards."""
    made = []

    def store(**changes) -> dict:
        changed = {**trace, "id": f"trace_01K7P0C0H4T5G9S1M2N3P4Q8{len(made):02}", **changes}
        report = server.call("POST", "/v1/traces/import", jsonl(changed), "application/x-ndjson")
        assert report["imported"] == 1, report
        made.append(changed)
        return changed

    yield store
    for one in made:
        server.call("DELETE", f"/v1/traces/{one['id']}")


def jsonl(*traces: dict) -> bytes:
    return b"".join(json.dumps(trace).encode() + b"\n" for trace in traces)
