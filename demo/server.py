"""A Linchpin server of this script's own, and its HTTP API with nothing but the standard library."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = os.environ.get("LINCHPIN_BIN", "linchpin")


class Server:
    """`linchpin serve` on a model and a data folder, for as long as the `with` block lasts."""

    def __init__(self, model: Path, data: Path, **options: Path | str):
        flags = [flag for name, value in options.items() for flag in (f"--{name.replace('_', '-')}", str(value))]
        command = [BINARY, "serve", "--model", str(model), "--data-dir", str(data), "--listen", "127.0.0.1:0", *flags]
        data.mkdir(parents=True, exist_ok=True)
        self.log = (data / "server.log").open("ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise SystemExit(f"the server did not start; see {data / 'server.log'}")
        self.url = line.split()[-1]

    def __enter__(self) -> "Server":
        while True:
            try:
                self.get("/ready")
                return self
            except urllib.error.HTTPError:
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(self.url + path, data=body, method=method, headers={"content-type": kind})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def get(self, path: str) -> dict:
        return json.loads(self.request("GET", path))

    def post(self, path: str, body: dict) -> dict:
        return json.loads(self.request("POST", path, json.dumps(body).encode()))

    def put(self, path: str, body: dict) -> dict:
        return json.loads(self.request("PUT", path, json.dumps(body).encode()))

    def dataset(self, name: str, rows: list[dict]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        self.request("PUT", f"/v1/datasets/{name}", lines, "application/x-ndjson")

    def job(self, kind: str, name: str, config: dict) -> dict:
        """Runs a job to its end."""
        job = self.post("/v1/jobs", {"kind": kind, "name": name, "config": config})
        began = time.monotonic()
        while job["state"] not in ("succeeded", "failed", "cancelled"):
            time.sleep(0.5)
            job = self.get(f"/v1/jobs/{job['id']}")
        if job["state"] != "succeeded":
            raise SystemExit(f"the job {name} {job['state']}: {job['error']}")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        return job

    def artifact(self, job: dict, name: str) -> bytes:
        return self.request("GET", f"/v1/jobs/{job['id']}/artifacts/{name}")

    def rows(self, job: dict, name: str) -> list[dict]:
        return [json.loads(line) for line in self.artifact(job, name).splitlines()]

    def save(self, job: dict, folder: str, to: Path) -> None:
        """Copies a folder of artifacts."""
        listed = self.get(f"/v1/jobs/{job['id']}/artifacts")["data"]
        to.mkdir(parents=True, exist_ok=True)
        for artifact in listed:
            if artifact["name"].startswith(folder + "/"):
                (to / artifact["name"].removeprefix(folder + "/")).write_bytes(self.artifact(job, artifact["name"]))

    def metric(self, job: dict, stage: str, name: str) -> float:
        """The last value of a stage's metric."""
        rows = self.get(f"/v1/jobs/{job['id']}/metrics?format=json")["data"]
        return [row["values"][name] for row in rows if row["stage"] == stage and name in row["values"]][-1]
