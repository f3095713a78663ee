"""lm-evaluation-harness as it comes, talking to the server as to any OpenAI-compatible one.

The same tasks run on the same model in transformers. What a task says is known to be right then: every log likelihood
and every answer is the same, and so are the scores made of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TASKS = Path(__file__).parent / "tasks"
FACTS, PROBLEMS = "linchpin_plain_facts", "linchpin_word_problems"

LOGLIKELIHOOD = 2e-3
"""Of a choice of several tokens, whose log probabilities are each within 1e-4."""


def evaluate(out: Path, kind: str, /, *options: str | Path, **arguments) -> dict:
    """Runs the harness's own command line; returns its results and, by task, every sample."""
    # The data is beside the tasks, and nothing is to be looked for on the network.
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(out / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        # torch's threads spin while they wait, and the server has the same cores.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [sys.executable, "-m", "lm_eval", "run", "--model", kind, "--tasks", f"{FACTS},{PROBLEMS}"]
    command += ["--include_path", TASKS, "--output_path", out / "results", "--log_samples", *options]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    done = subprocess.run([str(part) for part in command], cwd=TASKS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (results,) = (out / "results").rglob("results_*.json")
    samples = {}
    for task in (FACTS, PROBLEMS):
        (path,) = (out / "results").rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        samples[task] = sorted(rows, key=lambda row: row["doc_id"])
    return {"results": json.loads(results.read_text())["results"], "samples": samples}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, smollm2_folder):
    out = tmp_path_factory.mktemp("transformers")
    return evaluate(out, "hf", "--device", "cpu", "--batch_size", "1", pretrained=smollm2_folder, dtype="float32")


@pytest.mark.parametrize("tokenized", [True, False], ids=["ids", "text"])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_harness_gets_what_transformers_gives(
    tokenized, batch, expected, smollm2_server, smollm2_folder, tmp_path
):
    found = evaluate(
        tmp_path,
        "local-completions",
        "--batch_size",
        str(batch),
        model="base",
        base_url=f"{smollm2_server.url}/v1/completions",
        tokenizer=smollm2_folder,
        tokenizer_backend="huggingface",
        tokenized_requests=tokenized,
        num_concurrent=2,
    )
    for task in (FACTS, PROBLEMS):
        assert len(found["samples"][task]) == len(expected["samples"][task]) > 0
    for ours, theirs in zip(found["samples"][FACTS], expected["samples"][FACTS]):
        assert ours["doc"] == theirs["doc"]
        for (mine, is_mine_greedy), (other, is_other_greedy) in zip(responses(ours), responses(theirs), strict=True):
            assert abs(mine - other) <= LOGLIKELIHOOD, ours["doc"]
            assert is_mine_greedy == is_other_greedy, ours["doc"]
    for ours, theirs in zip(found["samples"][PROBLEMS], expected["samples"][PROBLEMS]):
        assert ours["doc"] == theirs["doc"]
        assert ours["resps"] == theirs["resps"], ours["doc"]
    for task, metrics in expected["results"].items():
        scores = {name: value for name, value in metrics.items() if isinstance(value, float)}
        assert {name: found["results"][task][name] for name in scores} == scores
    assert found["results"][FACTS]["acc,none"] > 0.5, "even a small model knows some of this"


def responses(sample: dict) -> list[tuple[float, bool]]:
    """Log likelihood, and whether it is the greedy answer, of every choice."""
    parsed = [response[0] for response in sample["resps"]]
    return [(float(np.float64(value)), str(greedy) == "True") for value, greedy in parsed]
