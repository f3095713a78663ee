"""Starts the real `linchpin serve` on a free port and talks to it."""

import json
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
NDJSON = {"Content-Type": "application/x-ndjson"}


def binary() -> Path:
    """The program under test: $LINCHPIN_BIN."""
    path = Path(os.environ.get("LINCHPIN_BIN") or "")
    if not path.is_file():
        raise SystemExit("set LINCHPIN_BIN to the linchpin program to test (tests/run does)")
    return path.resolve()


class StartFailed(Exception):
    """The server ended before it was ready. Its text is what the server printed."""


class Server:
    """A running server with a data folder of its own, or with one that outlives it; use it as a context manager."""

    def __init__(self, model: Path | None, *flags: str | Path, program: Path | None = None, home: Path | None = None):
        self._home = tempfile.TemporaryDirectory(prefix="linchpin-")
        home = home or Path(self._home.name)
        self.output: list[str] = []
        # Without a model the built-in demo is served.
        named = ["--model", model] if model else []
        command = [program or binary(), "serve", *named, "--listen", "127.0.0.1:0", *flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LINCHPIN_")}
        environment["LINCHPIN_DATA_DIR"] = str(home)
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

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)

    def get(self, route: str, timeout: float = 60) -> requests.Response:
        answer = self.http.get(self.url + route, timeout=timeout)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:2000]}"
        return answer

    def dataset(self, name: str, rows: list[dict]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        answer = self.http.put(f"{self.url}/v1/datasets/{name}", data=lines.encode(), headers=NDJSON, timeout=60)
        assert answer.status_code in (200, 201), answer.text

    def submit(self, kind: str, **config) -> str:
        answer = self.post("/v1/jobs", {"kind": kind, "name": kind, "config": config})
        assert answer.status_code == 202, f"{answer.status_code}: {answer.text[:2000]}"
        return answer.json()["id"]

    def job(self, id: str) -> dict:
        return self.get(f"/v1/jobs/{id}").json()

    def finished(self, id: str, seconds: float = 300) -> dict:
        """Waits for a job's end, whatever it is."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            job = self.job(id)
            if job["state"] in ("succeeded", "failed", "cancelled"):
                return job
            time.sleep(0.1)
        raise AssertionError(f"the job is not over after {seconds} s: {job}\n{self.text[-2000:]}")

    def artifact(self, id: str, name: str) -> bytes:
        return self.get(f"/v1/jobs/{id}/artifacts/{name}").content

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
