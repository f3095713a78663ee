"""The trainer against transformers, peft and torch's autograd: loss, metrics, every gradient, and ten steps of AdamW."""

import json
import subprocess
from itertools import cycle, product
from pathlib import Path

import gradients
import make_gguf
import make_models
import numpy as np
import pytest
import torch
from cache import digest, once
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from reference import Models
from safetensors.torch import load_file
from server import binary
from training_batches import rows_of
from training_reference import Evaluated, Learner
from transformers import AutoModelForCausalLM

CLOSE = 1e-4
"""Of the loss, the metrics and each gradient, relative to their size; f32 alone costs torch up to 2e-5 here."""
NEAR = 1e-4
"""Of a reward, absolute: a difference of sums of some hundreds in f32, which is zero where training begins."""
PARAMETERS = 1e-3
"""Of each parameter after ten steps, relative to its size, by norm."""
MOVES = 1e-2
"""Of how far each parameter went in ten steps, relative to that; f32 alone costs torch up to 3e-3."""

ARCHITECTURES = {
    "llama-tied-sharded": "grouped heads, tied head",
    "llama3": "grouped heads, scaled rope, a head of its own",
    "qwen2": "biases",
    "qwen3": "query and key norms",
    "mistral": "a window shorter than the sequences",
}
TRAINED = ["all-linear", "mlp", "full"]

CASES = {
    "sft": {},
    "dpo": {"loss": "dpo"},
    "dpo by position": {"loss": "dpo", "reduction": "position"},
    "dpo smoothed": {"loss": "dpo", "label_smoothing": 0.2},
    "rpo": {"loss": "rpo", "rpo_alpha": 0.7},
    "tdpo": {"loss": "tdpo", "tdpo_alpha": 0.4},
    "cdpo": {"loss": "cdpo"},
    "cdpo by position": {"loss": "cdpo", "reduction": "position"},
    "token weighted": {"loss": "token_weighted", "reduction": "sequence"},
    "token weighted by position": {"loss": "token_weighted", "reduction": "position"},
}

ARGUMENTS = {
    "learning_rate": 2e-3,
    "weight_decay": 0.3,
    "max_grad_norm": 0.5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
}
SCHEDULES = {
    "linear": {"lr_scheduler_type": "linear", "warmup_steps": 4},
    "cosine without warm-up": {"warmup_steps": 0},
    "constant": {"lr_scheduler_type": "constant", "warmup_steps": 0},
    # A large epsilon, so that how far a gradient was clipped shows.
    "other betas": {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-2, "max_grad_norm": 0.05},
    "no clipping": {"adam_epsilon": 1e-2, "max_grad_norm": 0.0},
    "a high limit": {"adam_epsilon": 1e-2, "max_grad_norm": 1e6},
    "no decay": {"weight_decay": 0.0},
}


def config_of(case: str, adapter: Path | None, **other) -> tuple[str, dict]:
    """The kind and the config of one of `CASES`."""
    kind = "sft" if case == "sft" else "preference"
    losses = {} if case == "sft" else {"beta": 0.1} | CASES[case]
    return kind, ARGUMENTS | losses | gradients.method(adapter) | other


def adapter_of(trained: str, name: str) -> Path | None:
    return None if trained == "full" else make_models.adapter(trained, name)


@pytest.fixture(scope="module")
def largest():
    """The largest relative differences seen, by what was compared; printed at the end."""
    seen: dict[str, float] = {}
    yield seen
    print("\nlargest relative differences: " + ", ".join(f"{what} {off:.1e}" for what, off in sorted(seen.items())))


def by_norm(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    off = (ours.double() - theirs.double()).norm()
    return (off / theirs.double().norm()).item() if off > 0 else 0.0


def by_norm_and_element(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The larger of the relative errors by norm and by the largest element."""
    off = (ours.double() - theirs.double()).abs().max()
    return max(by_norm(ours, theirs), (off / theirs.double().abs().max()).item() if off > 0 else 0.0)


def assert_close(what: str, ours: dict, theirs: dict, limit: float, largest: dict, measure=by_norm) -> None:
    assert ours.keys() == theirs.keys()
    assert all(ours[name].shape == theirs[name].shape for name in theirs)
    assert all(torch.isfinite(tensor).all() for tensor in ours.values())
    off = {name: measure(ours[name], theirs[name]) for name in theirs}
    worst = max(off, key=off.get)
    assert off[worst] <= limit, f"{what} of {worst}: {off[worst]:.1e}"
    largest[what] = max(largest.get(what, 0.0), off[worst])


def assert_evaluated(line: dict, tensors: dict, expected: Evaluated, largest: dict) -> None:
    """The printed numbers and the written gradients are the reference's."""
    assert line["loss"] == pytest.approx(expected.loss, rel=CLOSE)
    assert line["grad_norm"] == pytest.approx(expected.grad_norm, rel=CLOSE)
    for name, value in expected.metrics.items():
        if name != "rewards/accuracies":
            assert line[name] == pytest.approx(value, rel=CLOSE, abs=NEAR), name
    if expected.rewards is not None:
        ahead = expected.rewards[0] - expected.rewards[1]
        surely, perhaps = ((ahead > by).double().mean().item() for by in (NEAR, -NEAR))
        assert surely <= line["rewards/accuracies"] <= perhaps
    assert_close("gradients", tensors, expected.gradients, CLOSE, largest, by_norm_and_element)


@pytest.fixture(scope="module")
def learner():
    """`learner(base, adapter)` is the reference of the two, made once while it is the last one asked for."""
    last: dict = {}

    def get(base: Path, adapter: Path | None) -> Learner:
        if (base, adapter) not in last:
            last.clear()
            last[base, adapter] = Learner(base, adapter)
        return last[base, adapter]

    return get


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("case", CASES)
def test_gradients(name, trained, case, learner, largest):
    base, adapter = make_models.model(name), adapter_of(trained, name)
    kind, config = config_of(case, adapter)
    (line,), tensors = gradients.run(base, kind, config, rows_of(kind), adapter=adapter)
    assert_evaluated(line, tensors, learner(base, adapter).evaluate(kind, config, rows_of(kind)), largest)


def test_gradients_of_a_new_adapter(tmp_path, largest):
    """With B at zero, as peft begins, A has no gradient at all and B has."""
    base = make_models.model("llama3")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")).save_pretrained(tmp_path)
    kind, config = config_of("cdpo", tmp_path)
    (line,), tensors = gradients.run(base, kind, config, rows_of(kind), adapter=tmp_path)
    assert_evaluated(line, tensors, Learner(base, tmp_path).evaluate(kind, config, rows_of(kind)), largest)
    assert all(tensor.any() == ("lora_B" in name) for name, tensor in tensors.items())


@pytest.mark.parametrize("case", ["sft", "cdpo", "tdpo"])
@pytest.mark.parametrize("dtype", ["auto", "f32"])
def test_over_a_bf16_base(case, dtype, largest):
    """Weights in bf16 are computed with in f32, whether they were widened when they were loaded or not."""
    base, adapter = make_models.model("llama-bf16"), make_models.adapter("all-linear", "llama-bf16")
    kind, config = config_of(case, adapter)
    flags = ("--device", "cpu", "--dtype", dtype)
    (line,), tensors = gradients.run(base, kind, config, rows_of(kind), *flags, adapter=adapter)
    assert_evaluated(line, tensors, Learner(base, adapter).evaluate(kind, config, rows_of(kind)), largest)


@pytest.mark.parametrize("case", ["sft", "cdpo", "tdpo"])
@pytest.mark.parametrize("dtype", ["auto", "f32"])
@pytest.mark.parametrize("name", make_gguf.SPECS)
def test_over_a_quantised_base(name, dtype, case, learner, largest):
    """An adapter over weights that stay quantised has the gradients that it has over what they stand for."""
    file, unpacked = make_gguf.gguf_pair(name)
    adapter = gguf_adapter(name, unpacked)
    kind, config = config_of(case, adapter)
    flags = ("--device", "cpu", "--dtype", dtype)
    (line,), tensors = gradients.run(file, kind, config, rows_of(kind), *flags, adapter=adapter)
    assert_evaluated(line, tensors, learner(unpacked, adapter).evaluate(kind, config, rows_of(kind)), largest)


def gguf_adapter(name: str, unpacked: Path) -> Path:
    settings = make_models.ADAPTERS["all-linear"] | {"lora_alpha": 2}  # wider models, smaller steps
    key = digest(*(Path(module.__file__) for module in (make_models, make_gguf)), name, str(settings))
    return once("fidelity", f"gguf-adapter-{key}", lambda out: make_models.make_adapter(unpacked, settings, 7, out))


def assert_steps(name: str, trained: str, case: str, largest: dict, **other) -> None:
    base, adapter = make_models.model(name), adapter_of(trained, name)
    kind, config = config_of(case, adapter, **other)
    lines, tensors = gradients.run(base, kind, config, rows_of(kind), *gradients.CPU, "--steps", "10", adapter=adapter)
    reference = Learner(base, adapter)
    begun = {key: weight.detach().clone() for key, weight in reference.parameters.items()}
    steps = reference.train(kind, config, rows_of(kind), 10)
    assert len(lines) == len(steps)
    for number, (line, step) in enumerate(zip(lines, steps), 1):
        assert line["loss"] == pytest.approx(step.loss, rel=CLOSE), f"step {number}"
        assert line["grad_norm"] == pytest.approx(step.grad_norm, rel=10 * CLOSE), f"step {number}"
        assert line["learning_rate"] == pytest.approx(step.learning_rate, rel=1e-6), f"step {number}"
    expected = {key: weight.detach() for key, weight in reference.parameters.items()}
    assert_close("parameters", tensors, expected, PARAMETERS, largest)
    # By norm alone: AdamW moves an element whose gradient is nothing but rounding as far as any other.
    ours, theirs = ({key: end[key].double() - begun[key] for key in begun} for end in (tensors, expected))
    assert_close("moves", ours, theirs, MOVES, largest)


@pytest.mark.parametrize(
    "name, trained, case", [(*pair, case) for pair, case in zip(product(ARCHITECTURES, TRAINED), cycle(CASES))]
)
def test_ten_steps(name, trained, case, largest):
    """Every architecture and method, and in turn every loss. In full training the norms and biases do not decay."""
    assert_steps(name, trained, case, largest, **({"learning_rate": 1e-3} if trained == "full" else {}))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_and_settings(schedule, largest):
    assert_steps("llama3", "all-linear", "cdpo", largest, **SCHEDULES[schedule])


@pytest.mark.parametrize("new", [False, True], ids=["gone on", "new"])
@pytest.mark.parametrize("name", ["llama3", "qwen2"])
def test_the_adapter_loads_in_peft(name, new, tmp_path):
    """What was trained is a PEFT folder, with which peft and our own scoring give the same log probabilities."""
    base = make_models.model(name)
    begun = make_models.adapter("all-linear", name)
    kind, config = config_of("cdpo", begun, warmup_steps=0, learning_rate=2e-2)
    if new:
        config["lora"] = {"r": 5, "lora_alpha": 20, "lora_dropout": 0.0, "target_modules": ["all-linear"]}
    folder = tmp_path / "trained"
    flags = (*gradients.CPU, "--steps", "3", "--save-adapter", folder)
    _, tensors = gradients.run(base, kind, config, rows_of(kind), *flags, adapter=None if new else begun)

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded = get_peft_model_state_dict(PeftModel.from_pretrained(model, folder))
    stored = load_file(folder / "adapter_model.safetensors")
    assert loaded.keys() == stored.keys() == tensors.keys()
    assert all((loaded[key] == tensors[key]).all() and (stored[key] == tensors[key]).all() for key in tensors)
    assert not new or {tensor.shape[0] for key, tensor in tensors.items() if "lora_A" in key} == {5}

    models = Models(base, positive=folder)
    rows = [(row["prompt_token_ids"], row["chosen_token_ids"]) for row in rows_of(kind)]
    for (prompt, response), trace in zip(rows, scored(base, folder, rows, tmp_path), strict=True):
        expected = models.score(prompt + response, len(prompt)).logprobs
        for role in ("base", "positive"):
            ours = np.array([token["logprob"][role] for token in trace["tokens"]])
            theirs = expected[role][np.arange(len(response)), response]
            assert np.abs(ours - theirs).max() <= 1e-4, role
    moved = expected["positive"] - expected["base"]
    assert np.abs(moved).max() > 0.01, "an adapter that changes nothing would pass"


def scored(base: Path, adapter: Path, rows: list[tuple[list[int], list[int]]], folder: Path) -> list[dict]:
    """`linchpin score` with the adapter in the positive model's place."""
    asked = [{"prompt_token_ids": prompt, "response_token_ids": response} for prompt, response in rows]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    command = [binary(), "score", folder / "rows.jsonl", "--model", base, "--positive", adapter, *gradients.CPU]
    done = subprocess.run(command, capture_output=True, text=True, env=gradients.environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
