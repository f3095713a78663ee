"""Starts the real `linchpin serve` on a free port with a data folder of its own, and asks it over HTTP."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 120


def from_environment(variable: str, what: str) -> Path:
    """A path that the caller of the suite must give."""
    value = os.environ.get(variable, "")
    if not Path(value).exists() or not value:
        raise SystemExit(f"set {variable} to {what}")
    return Path(value).resolve()


class Server:
    """A running server; use it as a context manager."""

    def __init__(self, *flags: str | Path, key: str | None = None, model: str | None = "LINCHPIN_TEST_MODEL"):
        """`model` is the variable that names the model's file; without one the program serves its demo."""
        self.key = key
        self._data = tempfile.TemporaryDirectory(prefix="linchpin-browser-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LINCHPIN_")}
        environment["LINCHPIN_DATA_DIR"] = self._data.name
        environment["RUST_LOG"] = "warn"
        if key:
            environment["LINCHPIN_API_KEY"] = key
        program = from_environment("LINCHPIN_BIN", "the linchpin program to test")
        named = ["--model", from_environment(model, "the SmolLM2 GGUF file")] if model else []
        self._command = [str(part) for part in (program, "serve", *named, *flags)]
        self._environment = environment
        self._log = tempfile.TemporaryFile("w+")
        self._start("127.0.0.1:0")

    def _start(self, listen: str) -> None:
        self.process = subprocess.Popen(
            [*self._command, "--listen", listen],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.url = self._address()
            self._until_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _address(self) -> str:
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                if found := re.search(r"listening on (http://\S+)", line):
                    return found[1].rstrip("/")
        finally:
            timer.cancel()
        raise RuntimeError(f"the server ended before it listened:\n{self.log()}")

    def _until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.call("GET", "/ready")
                return
            except (urllib.error.HTTPError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f"the server did not become ready:\n{self.log()}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def restart(self) -> None:
        """Ends the program and begins it again on the same address and data."""
        self._end()
        self._start(urlsplit(self.url).netloc)

    def stop(self) -> None:
        self._end()
        self._log.close()
        self._data.cleanup()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def call(self, method: str, path: str, body=None, kind: str = "application/json"):
        """One request that must succeed; the answer's JSON."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": kind} if data is not None else {}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text

    def score(self, prompt: str, response: str, **more) -> dict:
        """Scores and keeps one trajectory; the trace."""
        return self.call("POST", "/v1/score", {"prompt": prompt, "response": response, "top_logprobs": 5, **more})
