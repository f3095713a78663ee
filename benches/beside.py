"""Latency of scoring alone and beside a job that trains, on one server.

    python benches/beside.py --model MODEL --data trajectories.jsonl [--requests 60]

The file has solutions of problems, as GSM8K's are: {"question", "response"} a line. The job is SFT on them, the requests score
them, one after another.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fidelity"))
from server import Server  # noqa: E402


def latencies(server: Server, rows: list[dict], count: int) -> list[float]:
    """Seconds of `count` requests, one after another, with a pause that leaves the job its time."""
    found = []
    for number in range(count):
        row = rows[number % len(rows)]
        body = {"prompt": row["prompt"], "response": row["response"], "save": False}
        began = time.monotonic()
        server.score(body)
        found.append(time.monotonic() - began)
        time.sleep(0.2)
    return found


def told(name: str, seconds: list[float]) -> float:
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(f"{name}: median {statistics.median(seconds) * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms")
    return p95


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=60)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.data.read_text().splitlines()]
    rows = [{"prompt": f"Question: {row['question']}\nAnswer:", "response": f" {row['response']}\n"} for row in rows]
    with Server(arguments.model, "--device", "cpu", "--dtype", "f32") as server:
        server.dataset("rows", rows)
        latencies(server, rows, 5)
        alone = told("alone", latencies(server, rows, arguments.requests))
        job = server.submit("sft", dataset="rows", num_train_epochs=1000, logging_steps=1)
        while server.job(job)["step"]["done"] < 2:
            time.sleep(0.5)
        first, began = server.job(job)["step"]["done"], time.monotonic()
        beside = told("beside training", latencies(server, rows, arguments.requests))
        done = server.job(job)
        steps = done["step"]["done"] - first
        print(f"p95 grows {beside / alone:.2f}x; {steps} steps in {time.monotonic() - began:.0f} s; "
              f"the job says that it yielded {done['yielded_seconds']:.0f} s")
        server.post(f"/v1/jobs/{job}/cancel", {})
        server.finished(job)


if __name__ == "__main__":
    main()
