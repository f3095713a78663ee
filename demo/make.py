"""Remakes the demo from its seed: the model from nothing, its adapters by the published pipeline, the table, the traces.

    LINCHPIN_BIN=target/release/linchpin python3 demo/make.py [--work DIR] [--seeds 5]

Everything is computed by Linchpin itself, over its HTTP API; this script needs nothing but Python.
"""

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path

import method
import traces
from problems import problems, reading
from server import Server
from tokenizer import write_model

HERE = Path(__file__).parent
SEED = 0
READ, PROBLEMS, HELD_OUT = 100_000, 600, 2_000
SCRATCH = {
    "lora": None, "learning_rate": 1.5e-3, "max_steps": 1400, "per_device_train_batch_size": 64, "warmup_steps": 100,
    "weight_decay": 0.1, "adam_beta2": 0.98, "logging_steps": 50, "save_steps": 200, "seed": SEED,
}


def from_scratch(work: Path, rows: list[dict]) -> None:
    """Trains the model from random weights on the solutions that it reads."""
    weights = write_model(work / "untrained", SEED)
    print(f"{weights} weights", flush=True)
    with Server(work / "untrained", work / "scratch") as server:
        server.dataset("reading", rows)
        job = server.job("sft", "from nothing", {"dataset": "reading", **SCRATCH})
        shutil.rmtree(HERE / "model", ignore_errors=True)
        server.save(job, "adapter", HERE / "model")


def table(work: Path, data: dict[str, list[dict]], seeds: int) -> dict[str, list[float]]:
    """Accuracies of every method by seed; keeps the first seed's adapters."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        with Server(HERE / "model", work / f"seed-{seed}") as server:
            for name, rows in data.items():
                server.dataset(name, rows)
            began = time.monotonic()
            made = method.pipeline(server, f"pipeline, seed {seed}", seed, "heldout")
            found.setdefault("seconds", []).append(time.monotonic() - began)
            for name, value in method.accuracies(server, made, seed, "heldout").items():
                found.setdefault(name, []).append(value)
            print({name: values[-1] for name, values in found.items()}, flush=True)
            if seed == 0:
                shutil.rmtree(HERE / "adapters", ignore_errors=True)
                for artifact, name in [("positive", "positive"), ("negative", "negative"), ("adapter", "cdpo")]:
                    server.save(made, artifact, HERE / "adapters" / name)
    return found


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("demo-work"), help="where servers keep their data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep-model", action="store_true", help="do not train the model from nothing again")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    began = time.monotonic()

    seen: set[str] = set()
    data = {"heldout": problems(SEED + 1, HELD_OUT, seen), "problems": problems(SEED + 2, PROBLEMS, seen)}
    read = reading(SEED + 3, READ, seen)
    if not arguments.keep_model:
        from_scratch(work, read)
    scratch_seconds = time.monotonic() - began
    found = table(work, data, arguments.seeds)
    for name, rows in data.items():
        write_lines(HERE / "data" / f"{name}.jsonl", rows)
    adapters = {name: HERE / "adapters" / name for name in ("positive", "negative")}
    with Server(HERE / "model", work / "traces", **adapters) as server:
        critical = traces.measure(server, data["heldout"])
        write_lines(HERE / "data" / "traces.jsonl", traces.stored(server, data["heldout"]))
    result = {
        "accuracy": {
            name: {"mean": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0, "seeds": values}
            for name, values in found.items() if name != "seconds"
        },
        "critical": critical,
        "seconds": {
            "from nothing": scratch_seconds, "pipeline": statistics.mean(found["seconds"]), "all": time.monotonic() - began,
        },
    }
    (HERE / "data" / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
