"""The adaptive search for the critical token against the exhaustive one, on a model's own wrong trajectories.

    python benches/search.py wrong.jsonl --url http://127.0.0.1:8080 [--from 0] [--count 30] [--output runs.jsonl]

Speaks to a server that runs already, over HTTP alone. Each line of the file is {"prompt", "response", "answer"}. Both
strategies search each of them with the same settings and seed, so that they uncover the same samples, and the table says how
often they give the same answer and what share of the exhaustive search's tokens the adaptive one drew.

*Same*: the same position, or none in both. *Overlapping*: no position from the one answer to the other has an interval
(Wilson's, 95%, all samples) that lies above the one of 0 right, so that the samples themselves do not tell the two apart.
(The intervals of the two answers always overlap, for none is right at either: comparing these two alone would prove nothing.)
"""

import argparse
import json
import statistics
import time
import urllib.error
import urllib.request
from pathlib import Path

QUEUE_FULL, PAUSE = 429, 1.0


def search(url: str, row: dict, strategy: str, settings: dict) -> dict:
    """One search, asked for again while the server is busy, with the seconds that it took."""
    body = {"prompt": row["prompt"], "response": row["response"], "answer": row["answer"], "strategy": strategy}
    request = urllib.request.Request(
        f"{url}/v1/searches", json.dumps(body | settings).encode(), {"Content-Type": "application/json"}
    )
    while True:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=3600) as answer:
                return json.load(answer) | {"seconds": time.monotonic() - began}
        except urllib.error.HTTPError as error:
            if error.code != QUEUE_FULL:
                raise SystemExit(f"{error.code}: {error.read().decode()}") from error
            time.sleep(PAUSE)


def overlap(one: int | None, other: int | None, exhaustive: dict) -> bool:
    """Whether the exhaustive search's samples do not tell two answers apart."""
    if one is None or other is None:
        return one == other
    intervals = {outcome["position"]: outcome["interval"] for outcome in exhaustive["positions"]}
    highest = intervals[exhaustive["critical"]][1]
    return all(intervals[at][0] <= highest for at in range(min(one, other), max(one, other) + 1))


def report(runs: list[dict]) -> str:
    """The Markdown table."""
    shares = [run["adaptive"]["usage"]["generated_tokens"] / run["exhaustive"]["usage"]["generated_tokens"] for run in runs]
    answers = [(run["adaptive"]["critical"], run["exhaustive"]["critical"]) for run in runs]
    same = statistics.mean(one == other for one, other in answers)
    overlapping = statistics.mean(
        overlap(one, other, run["exhaustive"]) for run, (one, other) in zip(runs, answers, strict=True)
    )

    def total(strategy: str, field: str) -> float:
        return sum(run[strategy][field] for run in runs)

    rows = [
        ("trajectories", f"{len(runs)}"),
        ("tokens of a response, median", f"{statistics.median(len(run['exhaustive']['positions']) for run in runs):.0f}"),
        ("with a critical token (exhaustive)", f"{sum(other is not None for _, other in answers)}"),
        ("same answer", f"{same:.1%}"),
        ("overlapping", f"{overlapping:.1%}"),
        ("stated confidence, mean", f"{statistics.mean(run['adaptive']['confidence'] for run in runs):.3f}"),
        ("share of tokens, mean", f"{statistics.mean(shares):.1%}"),
        ("share of tokens, median", f"{statistics.median(shares):.1%}"),
        ("share of tokens, highest", f"{max(shares):.1%}"),
        ("budget spent", f"{sum(run['adaptive']['reason'] == 'budget_spent' for run in runs)}"),
        ("rounds, mean", f"{statistics.mean(run['adaptive']['usage']['rounds'] for run in runs):.1f}"),
        ("seconds, exhaustive", f"{total('exhaustive', 'seconds'):.1f}"),
        ("seconds, adaptive", f"{total('adaptive', 'seconds'):.1f}"),
    ]
    return "\n".join(["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trajectories", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--from", dest="first", type=int, default=0, help="lines to leave out at the beginning")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--model", default="base")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--output", type=Path, help="both answers of each trajectory, a line each")
    arguments = parser.parse_args()
    settings = {
        "model": arguments.model,
        "confidence": arguments.confidence,
        "sampling": {"seed": arguments.seed, "max_tokens": arguments.max_tokens},
    }
    lines = arguments.trajectories.read_text().splitlines()[arguments.first :][: arguments.count]
    runs = []
    for number, line in enumerate(lines, arguments.first):
        row = json.loads(line)
        run = {strategy: search(arguments.url, row, strategy, settings) for strategy in ("adaptive", "exhaustive")}
        runs.append(run)
        found = {strategy: (answer["critical"], round(answer["seconds"], 1)) for strategy, answer in run.items()}
        print(f"{number}: {found}", flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.write(json.dumps({"line": number} | run) + "\n")
    print(report(runs))


if __name__ == "__main__":
    main()
