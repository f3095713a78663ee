"""Many clients at once, some of which go away: no error but 429, a bounded wait, and nothing left behind.

    LINCHPIN_BIN=target/release/linchpin python benches/load.py [--clients 64] [--seconds 30]

Speaks to a server that it starts itself on this machine's loopback address, for a bounded time. Each client asks in a
closed loop; one request in ten is dropped by its client at a random moment. Afterwards the queue must be empty, a
quiet request must be answered at once, and SIGTERM must end the server with status 0.
"""

import argparse
import http.client
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import workload
from make_smollm2 import smollm2
from server import Server
from trained import trained_adapters

DROPPED = 0.1
PAUSE_AFTER_429 = 0.2


class Clients:
    """What all clients saw, under one lock."""

    def __init__(self, address: str, bodies: list[bytes], until: float):
        self.address, self.bodies, self.until = urlsplit(address), bodies, until
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._lock = threading.Lock()

    def run(self, number: int) -> None:
        draw = random.Random(number)
        while time.monotonic() < self.until:
            body = draw.choice(self.bodies)
            began = time.monotonic()
            outcome = self._drop(body, draw) if draw.random() < DROPPED else self._ask(body)
            with self._lock:
                self.outcomes[outcome] += 1
                if outcome == "200":
                    self.seconds.append(time.monotonic() - began)
            if outcome == "429":
                time.sleep(PAUSE_AFTER_429 * (0.5 + draw.random()))

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=300)

    def _ask(self, body: bytes) -> str:
        connection = self._connect()
        try:
            connection.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def _drop(self, body: bytes, draw: random.Random) -> str:
        """Sends a request and hangs up before it is answered."""
        connection = self._connect()
        try:
            connection.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
            time.sleep(draw.random() * 0.5)
            return "dropped"
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()


def waiting(server: Server) -> float:
    """The queue's length as /metrics tells it."""
    text = server.http.get(server.url + "/metrics", timeout=5).text
    found = re.search(r"^linchpin_queue_waiting (\S+)$", text, re.MULTILINE)
    if not found:
        raise SystemExit(f"/metrics does not tell the queue's length:\n{text[:2000]}")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64, choices=range(1, 257), metavar="1..256")
    parser.add_argument("--seconds", type=int, default=30, choices=range(1, 301), metavar="1..300")
    parser.add_argument("--queue", type=int, default=32, help="the server's --queue, under the number of clients")
    parser.add_argument("--length", type=int, default=64, help="tokens of a trajectory")
    options = parser.parse_args()
    bodies = [
        json.dumps({"prompt_token_ids": prompt, "response_token_ids": response, "save": False}).encode()
        for prompt, response in workload.trajectories(49000, options.length, count=16)
    ]
    adapters = trained_adapters()
    pair = ("--positive", adapters / "positive", "--negative", adapters / "negative")
    with Server(smollm2()[1], "--device", "cpu", "--queue", str(options.queue), *pair) as server:
        clients = Clients(server.url, bodies, time.monotonic() + options.seconds)
        threads = [threading.Thread(target=clients.run, args=(number,)) for number in range(options.clients)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        problems = report(clients, took) + afterwards(server, bodies[0])
        status = server.stop()
    if status != 0:
        problems.append(f"SIGTERM ended the server with status {status}")
    sys.exit("; ".join(problems) or 0)


def report(clients: Clients, took: float) -> list[str]:
    print(f"{took:.1f} s: " + ", ".join(f"{outcome} x {count}" for outcome, count in sorted(clients.outcomes.items())))
    if not clients.seconds:
        return ["no request was answered"]
    ordered = sorted(clients.seconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    print(f"answered {len(ordered) / took:.1f}/s; p50 {at(0.5):.2f} s, p99 {at(0.99):.2f} s, longest {ordered[-1]:.2f} s")
    odd = set(clients.outcomes) - {"200", "429", "dropped"}
    return [f"unexpected outcomes: {sorted(odd)}"] if odd else []


def afterwards(server: Server, body: bytes) -> list[str]:
    """The queue empties, and the server is as quick as a fresh one."""
    deadline = time.monotonic() + 30
    while waiting(server) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    left = waiting(server)
    began = time.monotonic()
    server.score(json.loads(body))
    print(f"afterwards: {left:.0f} waiting, one request takes {time.monotonic() - began:.2f} s")
    return [f"{left:.0f} requests still wait"] if left else []


if __name__ == "__main__":
    main()
