"""Nothing is left of clients that leave, caches stay within their budget, and overload is told, on SmolLM2's real weights."""

import contextlib
import json
import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from server import Server
from trajectories import PROBLEM

MIB = 1 << 20


def metric(server: Server, name: str) -> float:
    text = server.http.get(f"{server.url}/metrics", timeout=30).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def settled(server: Server) -> None:
    """Waits until nothing is drawn and nobody waits."""
    for _ in range(600):
        busy = metric(server, "linchpin_generations_running") + metric(server, "linchpin_queue_waiting")
        # This very request is one in flight.
        if busy == 0 and metric(server, "linchpin_http_requests_in_flight") == 1:
            return
        time.sleep(0.05)
    pytest.fail("work goes on that nobody waits for")


def data_files(server: Server) -> set[str]:
    home = Path(server._home.name)
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def connections(server: Server) -> int:
    """Open sockets. Handles on the database may come and go: it has a pool of them."""
    handles = Path(f"/proc/{server.process.pid}/fd")
    links = []
    for handle in handles.iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(handle))
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture(scope="module")
def server(smollm2_gguf):
    with Server(smollm2_gguf, "--device", "cpu", "--dtype", "f32", "--cache-mb", "256") as server:
        yield server


def test_ten_streams_that_break_off_leave_nothing_behind(server):
    trace = server.score({"prompt": PROBLEM.prompt, "response": PROBLEM.wrong.text, "answer": str(PROBLEM.answer)})
    # Far more than can be drawn before a client leaves.
    much = {"max_tokens": 1500}
    requests_ = {
        "/v1/rollouts": {"trace_id": trace["id"], "position": 8, "samples": 40, "sampling": much},
        "/v1/searches": {"trace_id": trace["id"], "strategy": "exhaustive", "sampling": much},
        "/v1/completions": {"prompt": PROBLEM.prompt, "n": 64, "ignore_eos": True, **much},
        "/v1/chat/completions": {
            "messages": [{"role": "user", "content": "Count the stars."}],
            "n": 64,
            "ignore_eos": True,
            **much,
        },
    }

    def short(route: str) -> dict:
        """The same requests, short enough to be waited for."""
        body = json.loads(json.dumps(requests_[route])) | {"seed": 5}
        if "sampling" not in body:
            return body | {"n": 2, "max_tokens": 4}
        del body["seed"]
        body |= {"save": False, "sampling": {"max_tokens": 2}}
        return body | ({"samples": 1, "original_samples": 1} if route == "/v1/rollouts" else {"samples": 1})

    def answers() -> list:
        found = []
        for route in requests_:
            answer = server.post(route, short(route))
            assert answer.status_code == 200, answer.text[:500]
            body = answer.json()
            for field in ("id", "created", "usage"):
                body.pop(field)
            found.append(body)
        return found

    before = answers()
    settled(server)
    cached, files, sockets = metric(server, "linchpin_cache_bytes"), data_files(server), connections(server)
    assert cached > 0

    def client(number: int) -> int:
        chance = random.Random(number)
        events = 0
        with requests.Session() as http:
            for _ in range(4):
                route = chance.choice(list(requests_))
                body = requests_[route] | {"stream": True}
                with http.post(server.url + route, json=body, stream=True, timeout=120) as answer:
                    assert answer.status_code == 200, answer.text[:500]
                    # Leave at once, after some events, or after some time.
                    leave = time.monotonic() + chance.choice([0, 0.2, 1.5])
                    most = chance.choice([0, 1, 30])
                    for line in answer.iter_lines():
                        assert b"[DONE]" not in line, "the request is too small for this test"
                        events += line.startswith(b"data:")
                        if events >= most or time.monotonic() > leave:
                            break
        return events

    with ThreadPoolExecutor(10) as clients:
        assert sum(clients.map(client, range(10))) > 10
    settled(server)
    # What was read of the prompts may stay, for who comes next; what was drawn may not.
    assert metric(server, "linchpin_cache_bytes") <= cached
    assert data_files(server) == files
    stored = server.http.get(f"{server.url}/v1/traces/{trace['id']}").json()
    assert stored == trace and "rollouts" not in stored and "searches" not in stored
    # Connections close a moment after their clients.
    server.http.close()
    for _ in range(100):
        if connections(server) <= sockets:
            break
        time.sleep(0.05)
    assert connections(server) <= sockets
    assert answers() == before, "what is drawn depends on what happened before"
    settled(server)
    assert metric(server, "linchpin_cache_bytes") == cached


def test_a_flood_of_long_prompts_stays_within_the_cache(smollm2_gguf):
    """Thirty prompts of some 400 tokens, all different, whose caches together are many times the budget."""
    budget, queue = 64, 10
    with Server(
        smollm2_gguf, "--device", "cpu", "--dtype", "f32", "--cache-mb", str(budget), "--queue", str(queue)
    ) as server:
        body = {"max_tokens": 24, "n": 4, "ignore_eos": True, "seed": 1}

        def prompt(number: int) -> str:
            return " ".join(f"{number} and {at}" for at in range(80))

        def ask(number: int) -> requests.Response:
            return requests.post(server.url + "/v1/completions", json=body | {"prompt": prompt(number)}, timeout=600)

        alone = ask(0).json()["choices"]
        settled(server)
        resident = server.status_kib("VmRSS") >> 10
        seen, stop = [], threading.Event()

        def watch() -> None:
            with requests.Session() as http:
                while not stop.is_set():
                    text = http.get(f"{server.url}/metrics", timeout=30).text
                    seen.append(float(re.search(r"^linchpin_cache_bytes (\S+)$", text, re.MULTILINE)[1]))
                    time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(30) as clients:
            answers = list(clients.map(ask, range(30)))
        stop.set()
        watcher.join()

        assert metric(server, "linchpin_cache_budget_bytes") == budget * MIB
        assert 0.5 * budget * MIB < max(seen) <= budget * MIB, "the flood fills the cache, and no more"
        statuses = {answer.status_code for answer in answers}
        assert statuses == {200, 429}, statuses
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["code"] == "queue_full"
            else:
                assert [choice["finish_reason"] for choice in answer.json()["choices"]] == ["length"] * 4
        assert sum(answer.status_code == 200 for answer in answers) >= queue
        # Beside the cache there are the logits and a step's buffers.
        assert server.status_kib("VmHWM") >> 10 < resident + budget + 200
        settled(server)
        assert ask(0).json()["choices"] == alone
