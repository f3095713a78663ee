"""A real run: SmolLM2-135M learns from right and wrong solutions, from positive and negative model to cDPO.

    LINCHPIN_BIN=target/release/linchpin python benches/real.py --data trajectories.jsonl [--out FOLDER] [--epochs 3]

The file has solutions of problems, as GSM8K's are: {"question", "response", "answer", "correct"} a line. A fifth of the problems is
held out. Over one server's API: `sft` on the right and on the wrong solutions, `contrast` with both adapters over every pair of a
right and a wrong solution of one problem, `preference` on the result, all with the published settings but for the length of
the warm-up, which is a tenth of the run.

Printed are the runs' curves and, of held-out solutions, what training was for: how well the contrast tells right from wrong
ones, and how the trained adapter's log probabilities have moved from the base's. What the jobs made is kept in FOLDER.
"""

import argparse
import json
import random
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/fidelity"))
from make_smollm2 import smollm2  # noqa: E402
from server import Server  # noqa: E402

HELD_OUT = 5
SHOWN = ("loss", "grad_norm", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
WAIT = 6 * 3600


def trajectory(row: dict) -> dict:
    """A solution as few-shot prompts put it: without a space before it its first word would be another token."""
    prompt, response = f"Question: {row['question'].strip()}\nAnswer:", f" {row['response'].strip()}\n"
    return {"prompt": prompt, "response": response, "answer": row["answer"], "correct": row["correct"]}


def pairs_of(rows: list[dict]) -> list[dict]:
    """Every right with every wrong solution of one problem."""
    by_prompt: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for row in rows:
        by_prompt[row["prompt"]][row["correct"]].append(row["response"])
    return [
        {"prompt": prompt, "chosen": right, "rejected": wrong}
        for prompt, (wrongs, rights) in by_prompt.items()
        for right, wrong in product(sorted(set(rights)), sorted(set(wrongs)))
    ]


class Run:
    def __init__(self, server: Server, out: Path | None):
        self.server, self.out = server, out

    def do(self, name: str, kind: str, **config) -> str:
        """A job, followed to its end; prints its curve."""
        job = self.server.submit(kind, **config)
        record = self.server.finished(job, WAIT)
        assert record["state"] == "succeeded", record
        steps = self.server.get(f"/v1/jobs/{job}/metrics").json()["data"]
        print(f"\n{name}: {record['step']['done']} steps in {record['elapsed_seconds']:.0f} s, dropped {record['dropped']}")
        names = [metric for metric in SHOWN if steps and metric in steps[0]["values"]]
        if names:
            print(f"{'step':>6} " + " ".join(f"{metric:>18}" for metric in names))
        for point in steps:
            if names:
                print(f"{point['step']:6} " + " ".join(f"{point['values'][metric]:18.4f}" for metric in names))
        if self.out:
            for artifact in record["artifacts"]:
                path = self.out / name / artifact["name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.server.artifact(job, artifact["name"]))
        return job

    def load(self, id: str, job: str) -> None:
        answer = self.server.post("/v1/adapters", {"id": id, "job": job, "artifact": "adapter"})
        assert answer.status_code == 201, answer.text

    def roles(self, positive: str, negative: str) -> None:
        answer = self.server.http.put(f"{self.server.url}/v1/roles", json={"positive": positive, "negative": negative})
        assert answer.status_code == 200, answer.text

    def scored(self, rows: list[dict]) -> list[dict]:
        ask = lambda row: {key: row[key] for key in ("prompt", "response")} | {"save": False}
        return [self.server.score(ask(row)) for row in rows]


def auc(right: list[float], wrong: list[float]) -> float:
    """How often a right one is above a wrong one."""
    wins = [(a > b) + 0.5 * (a == b) for a, b in product(right, wrong)]
    return sum(wins) / len(wins)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    rows = [trajectory(json.loads(line)) for line in options.data.read_text().splitlines()]
    prompts = sorted({row["prompt"] for row in rows})
    random.Random(0).shuffle(prompts)
    held = set(prompts[: len(prompts) // HELD_OUT])
    learned, unseen = ([row for row in rows if (row["prompt"] in held) == side] for side in (False, True))
    pairs = pairs_of(learned)
    print(f"{len(learned)} solutions and {len(pairs)} pairs of {len(prompts) - len(held)} problems, {len(unseen)} held out")

    with Server(smollm2()[0], "--device", "cpu", "--dtype", "f32") as server:
        run = Run(server, options.out)
        server.dataset("solutions", learned)
        server.dataset("pairs", pairs)
        train = {"num_train_epochs": options.epochs, "logging_steps": 5}
        sft = train | {"dataset": "solutions", "warmup_steps": None, "warmup_ratio": 0.1}
        for role, responses in (("positive", "correct"), ("negative", "wrong")):
            run.load(role, run.do(role, "sft", responses=responses, **sft))
        contrast = run.do("contrast", "contrast", dataset="pairs", positive="positive", negative="negative")
        weighted = [json.loads(line) for line in server.artifact(contrast, "contrast.jsonl").splitlines()]
        server.dataset("weighted", weighted)
        run.load("cdpo", run.do("cdpo", "preference", dataset="weighted", **train))

        run.roles("positive", "negative")
        scores: dict[bool, list[float]] = {True: [], False: []}
        for row, scored in zip(unseen, run.scored(unseen)):
            scores[row["correct"]].append(mean([token["score"] for token in scored["tokens"]]))
        print(f"\nheld out: mean s_t of {len(scores[True])} right {mean(scores[True]):.3f}, of {len(scores[False])} wrong "
              f"{mean(scores[False]):.3f}; a right one is above a wrong one in {auc(scores[True], scores[False]):.1%}")
        run.roles("cdpo", "negative")
        moved: dict[bool, list[float]] = {True: [], False: []}
        for row, scored in zip(unseen, run.scored(unseen)):
            by = [token["logprob"]["positive"] - token["logprob"]["base"] for token in scored["tokens"]]
            moved[row["correct"]].append(sum(by))
        print(f"held out: cDPO moves the log probability of right solutions by {mean(moved[True]):+.2f} and of wrong ones by "
              f"{mean(moved[False]):+.2f}; a right one moves up more than a wrong one in {auc(moved[True], moved[False]):.1%}")


if __name__ == "__main__":
    main()
