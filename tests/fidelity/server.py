"""Starts the real `linchpin serve` on a free port and talks to it."""

import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import requests

LISTENING = re.compile(r"listening on (http://\S+)", re.IGNORECASE)
STYLING = re.compile(r"\x1b\[[0-9;]*m")
START_SECONDS = 120


def binary() -> Path:
    """The program under test: $LINCHPIN_BIN."""
    path = Path(os.environ.get("LINCHPIN_BIN") or "")
    if not path.is_file():
        raise SystemExit("set LINCHPIN_BIN to the linchpin program to test (tests/run does)")
    return path.resolve()


class StartFailed(Exception):
    """The server ended before it was ready. Its text is what the server printed."""


class Server:
    """A running server with a data folder of its own; use it as a context manager."""

    def __init__(self, model: Path, *flags: str | Path, program: Path | None = None):
        self._home = tempfile.TemporaryDirectory(prefix="linchpin-")
        self.output: list[str] = []
        command = [program or binary(), "serve", "--model", model, "--listen", "127.0.0.1:0", *flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LINCHPIN_")}
        environment["LINCHPIN_DATA_DIR"] = self._home.name
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=self._home.name,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._address: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.http = requests.Session()
        try:
            self.url = self._wait_for_address()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.seconds_to_ready = time.monotonic() - self.started

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if found := LISTENING.search(STYLING.sub("", line)):
                self._address.put(found[1].rstrip("/."))

    def _wait_for_address(self) -> str:
        while time.monotonic() < self.started + START_SECONDS:
            try:
                return self._address.get(timeout=0.02)
            except queue.Empty:
                self._fail_if_ended()
        raise StartFailed(f"no address within {START_SECONDS} s:\n{self.text}")

    def _wait_until_ready(self) -> None:
        while time.monotonic() < self.started + START_SECONDS:
            self._fail_if_ended()
            try:
                if self.http.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.02)
        raise StartFailed(f"not ready within {START_SECONDS} s:\n{self.text}")

    def _fail_if_ended(self) -> None:
        if self.process.poll() is not None:
            self._reader.join(timeout=5)
            raise StartFailed(self.text)

    @property
    def text(self) -> str:
        """What the server has printed, without colours."""
        return STYLING.sub("", "".join(self.output))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def status_kib(self, field: str) -> int:
        """A figure of /proc/PID/status in KiB, such as VmHWM, the most memory it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1])

    def stop(self) -> int:
        """Asks it to end as an operator would, and returns its exit status."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.process.wait()
        self._reader.join(timeout=5)
        self._home.cleanup()
        return status

    def post(self, route: str, body: dict, timeout: float = 300) -> requests.Response:
        return self.http.post(self.url + route, json=body, timeout=timeout)

    def score(self, body: dict) -> dict:
        """POST /v1/score of a request that must succeed."""
        answer = self.post("/v1/score", body)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:2000]}"
        return answer.json()


def assert_error(answer: requests.Response, status: int, words: str) -> dict:
    """Checks the contract's error shape, and that the message matches a pattern."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    return assert_error_body(answer.json(), words)


def assert_error_body(body: dict, words: str) -> dict:
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert re.fullmatch(r"[a-z0-9_]+", error["code"]), error
    assert re.search(words, error["message"], re.IGNORECASE), error["message"]
    return error
