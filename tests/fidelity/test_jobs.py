"""Jobs on real weights over HTTP: killed and taken up again, loaded and scored, diverging, on a full disk, beside requests."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from server import NDJSON, Server, assert_error
from transformers import AutoModelForCausalLM

DEMO = Path(__file__).parents[2] / "demo"
MODEL = DEMO / "model"
PUT = {"prompt_format": "plain", "max_tokens": 100}


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DEMO / "data" / f"{name}.jsonl").read_text().splitlines()]


def pairs(count: int) -> list[dict]:
    """Preferences with weights: the right solution against one whose last number is off by one."""
    made = []
    for problem in rows("problems")[:count]:
        right = problem["answer"]
        answer = right.rsplit("#### ", 1)[1]
        wrong = f"{right.rsplit('#### ', 1)[0]}#### {int(answer) + 1}"
        made.append({"prompt": problem["question"] + "\n", "chosen": right, "rejected": wrong})
    return made


def losses(server: Server, job: str) -> list[dict]:
    """The metrics of every step, but for how fast it was."""
    table = csv.DictReader(io.StringIO(server.get(f"/v1/jobs/{job}/metrics?format=csv").text))
    return [row for row in table if row["name"] != "tokens_per_second"]


TRAINING = {
    "dataset": "pairs", "loss": "dpo", "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 7, "seed": 3,
    "lora": {"lora_dropout": 0.1},
}


@pytest.fixture(scope="module")
def demo():
    with Server(MODEL) as server:
        server.dataset("pairs", pairs(160))
        server.dataset("problems", rows("problems")[:40])
        yield server


@pytest.fixture(scope="module")
def uninterrupted(demo):
    job = demo.submit("preference", **TRAINING)
    assert demo.finished(job)["state"] == "succeeded"
    return losses(demo, job), demo.artifact(job, "adapter/adapter_model.safetensors")


def test_a_job_that_is_killed_again_and_again_ends_as_if_it_never_was(uninterrupted, tmp_path):
    expected, adapter = uninterrupted
    steps = len({row["step"] for row in expected})
    assert steps == 60
    rng = random.Random(int(os.environ.get("LINCHPIN_TEST_SEED", time.time_ns() % 1000)))
    job, kills = None, 0
    while True:
        server = Server(MODEL, home=tmp_path)
        try:
            if job is None:
                server.dataset("pairs", pairs(160))
                job = server.submit("preference", **TRAINING)
            if kills == 4:
                done = server.finished(job)
                break
            time.sleep(rng.uniform(0.1, 2.5))
            state = server.job(job)["state"]
            assert state in ("validating_files", "queued", "running", "succeeded"), state
            if state == "succeeded":
                done = server.job(job)
                break
            server.kill()
            kills += 1
        finally:
            if server.alive and kills < 4 and "done" not in locals():
                server.kill()
    try:
        assert done["state"] == "succeeded", done["error"]
        assert kills > 0
        assert losses(server, job) == expected
        assert server.artifact(job, "adapter/adapter_model.safetensors") == adapter
    finally:
        server.stop()


def test_the_pipeline_s_adapter_is_loaded_scores_at_once_and_is_peft_s(demo, tmp_path):
    job = demo.submit(
        "pipeline", dataset="problems", eval_dataset="problems",
        sample={**PUT, "n": 16, "temperature": 1.0}, sft={"warmup_steps": 2, "learning_rate": 1e-3},
        preference={"num_train_epochs": 1, "learning_rate": 1e-3}, evaluate=PUT,
    )
    done = demo.finished(job)
    assert done["state"] == "succeeded", done["error"]
    names = {artifact["name"] for artifact in demo.get(f"/v1/jobs/{job}/artifacts").json()["data"]}
    assert {"samples.jsonl", "preferences.jsonl", "contrast.jsonl", "metrics.csv"} <= names
    assert {f"{folder}/adapter_model.safetensors" for folder in ("positive", "negative", "adapter")} <= names

    problem = rows("heldout")[0]
    body = {"prompt": problem["question"] + "\n", "response": problem["answer"], "save": False}
    before = demo.score(body)
    assert before["models"]["positive"] is None
    for id in ("positive", "negative"):
        loaded = demo.post("/v1/adapters", {"id": id, "job": job, "artifact": id})
        assert loaded.status_code == 201, loaded.text
    roles = demo.http.put(f"{demo.url}/v1/roles", json={"positive": "positive", "negative": "negative"}, timeout=60)
    assert roles.status_code == 200, roles.text
    after = demo.score(body)
    assert all(0 < token["score"] < 1 for token in after["tokens"])

    folder = tmp_path / "positive"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes(demo.artifact(job, f"positive/{name}"))
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    ids = after["prompt"]["token_ids"] + [token["id"] for token in after["tokens"]]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(after["prompt"]["token_ids"])
    for token in after["tokens"]:
        expected = logits[start + token["position"] - 1, token["id"]].item()
        assert token["logprob"]["positive"] == pytest.approx(expected, abs=1e-4)
    moved = [abs(a["logprob"]["base"] - a["logprob"]["positive"]) for a in after["tokens"]]
    assert max(moved) > 1e-3, "the adapter changes nothing"


def test_the_score_s_weights_are_those_of_the_formula(demo):
    """`contrast` against (3) in torch, on adapters of a pipeline."""
    job = next(job for job in demo.get("/v1/jobs").json()["data"] if job["kind"] == "pipeline")["id"]
    row = json.loads(demo.artifact(job, "contrast.jsonl").splitlines()[0])
    ids = row["prompt_token_ids"] + row["rejected_token_ids"]
    logs = []
    for name in ("positive", "negative"):
        model = torch_model(demo, job, name)
        with torch.no_grad():
            logs.append(model(torch.tensor([ids])).logits[0].double().log_softmax(-1))
    scores = (2 * logs[0] - logs[1]).softmax(-1)
    start = len(row["prompt_token_ids"])
    for position, id in enumerate(row["rejected_token_ids"]):
        expected = 1 - scores[start + position - 1, id].item()
        assert row["rejected_weights"][position] == pytest.approx(expected, abs=1e-4)


def torch_model(demo: Server, job: str, name: str):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (Path(folder) / file).write_bytes(demo.artifact(job, f"{name}/{file}"))
        base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        return PeftModel.from_pretrained(base, folder).eval()


def test_a_rate_that_diverges_fails_and_says_where(demo):
    job = demo.submit("preference", **{**TRAINING, "learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 0.0})
    done = demo.finished(job)
    assert done["state"] == "failed" and done["error"]["code"] == "diverged", done
    assert "not finite at step" in done["error"]["message"] and "learning rate" in done["error"]["message"]


def test_a_second_job_waits_for_the_first_and_cancelling_acts_at_once(demo):
    first = demo.submit("preference", **{**TRAINING, "num_train_epochs": 200})
    second = demo.submit("preference", **{**TRAINING, "num_train_epochs": 200})
    deadline = time.monotonic() + 60
    while demo.job(first)["step"]["done"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert demo.job(second)["state"] == "queued"
    for job in (second, first):
        assert demo.post(f"/v1/jobs/{job}/cancel", {}).status_code == 200
    assert demo.finished(first, 20)["state"] == "cancelled"
    assert demo.finished(second, 20)["state"] == "cancelled"
    # A cancelled run goes on from where it was left.
    assert demo.post(f"/v1/jobs/{first}/resume", {}).status_code == 202
    while demo.job(first)["state"] != "running":
        time.sleep(0.05)
    assert demo.post(f"/v1/jobs/{first}/cancel", {}).status_code == 200
    assert demo.finished(first, 20)["state"] == "cancelled"


def test_requests_are_answered_while_a_job_trains_and_the_job_says_that_it_yields(demo):
    job = demo.submit("preference", **{**TRAINING, "num_train_epochs": 400})
    while demo.job(job)["step"]["done"] < 3:
        time.sleep(0.05)
    problem = rows("heldout")[1]
    body = {"prompt": problem["question"] + "\n", "response": problem["answer"], "save": False}
    threads = [threading.Thread(target=lambda: [demo.post("/v1/score", body) for _ in range(50)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(2)
    record = demo.job(job)
    assert record["state"] == "running" and record["yielded_seconds"] > 0, record
    demo.post(f"/v1/jobs/{job}/cancel", {})
    demo.finished(job)


def test_a_disk_that_fills_up_fails_the_job_and_loses_nothing(tmp_path):
    """On a file system of 9 MB, made for the test: needs root, as the installation of packages does."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "linchpin-test", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.fail(f"a small file system cannot be mounted here: {made.stderr}")
    try:
        with Server(MODEL, home=disk) as server:
            server.dataset("pairs", pairs(160))
            filler = disk / "filler"
            job = server.submit("preference", **{**TRAINING, "num_train_epochs": 40, "save_steps": 3})
            while server.job(job)["step"]["done"] < 5:
                time.sleep(0.05)
            with filler.open("wb") as file:
                try:
                    while True:
                        file.write(b"\0" * 65536)
                        file.flush()
                except OSError:
                    pass
            done = server.finished(job, 60)
            assert done["state"] == "failed", done
            assert done["error"]["code"] in ("disk_full", "disk_failed"), done["error"]
            filler.unlink()
            before = done["step"]["done"]
            assert server.post(f"/v1/jobs/{job}/resume", {}).status_code == 202
            deadline = time.monotonic() + 60
            while server.job(job)["step"]["done"] <= before:
                assert time.monotonic() < deadline, server.job(job)
                time.sleep(0.1)
            server.post(f"/v1/jobs/{job}/cancel", {})
            assert server.finished(job)["state"] == "cancelled"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_bad_data_and_settings_are_refused_by_line_and_field(demo):
    broken = '{"prompt": "p", "chosen": "a", "rejected": "b"}\n{"prompt": "p", "chosen": "a", "rejected": "a"}\n'
    answer = demo.http.put(f"{demo.url}/v1/datasets/broken", data=broken, headers=NDJSON, timeout=30)
    assert_error(answer, 422, "line 2.*same as")
    answer = demo.post("/v1/jobs", {"kind": "preference", "config": {"dataset": "pairs", "loss": "cdpo"}})
    if answer.status_code == 202:
        done = demo.finished(answer.json()["id"])
        assert done["state"] == "failed" and "rejected_weights" in done["error"]["message"]
    else:
        assert_error(answer, 422, "rejected_weights")
    bad = {"kind": "sft", "config": {"dataset": "pairs", "learning_rate": -1}}
    assert assert_error(demo.post("/v1/jobs", bad), 422, "positive number")["param"] == "config.learning_rate"


def test_the_worker_goes_on_with_a_server_s_job(tmp_path):
    with Server(MODEL, "--no-jobs", home=tmp_path) as server:
        server.dataset("pairs", pairs(40))
        job = server.submit("preference", **{**TRAINING, "num_train_epochs": 1})
        time.sleep(0.5)
        assert server.job(job)["state"] in ("validating_files", "queued")
        command = [os.environ["LINCHPIN_BIN"], "worker", "--model", str(MODEL), "--data-dir", str(tmp_path)]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert server.finished(job)["state"] == "succeeded"
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=30) == 0
