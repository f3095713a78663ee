"""Tokens drawn over HTTP against the exact distribution: transformers' own logits and warpers, by chi-square."""

import math

import pytest
import torch
from server import Server
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

# In the order in which transformers applies them.
WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
}
SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.8},
    {"top_p": 0.8},
    {"temperature": 0.5, "top_p": 0.95},
    {"top_k": 12},
    {"min_p": 0.05},
    {"temperature": 1.3, "top_k": 60, "top_p": 0.9, "min_p": 0.02},
]
DRAWS, REQUESTS = 4000, 2


@pytest.fixture(scope="module")
def prompt(smollm2_folder) -> list[int]:
    # Nearly anything may come next.
    return PreTrainedTokenizerFast.from_pretrained(smollm2_folder)("Names that I like: Tom, Ann, Sven,").input_ids


@pytest.fixture(scope="module")
def logits(smollm2_folder, prompt) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[:, -1].double()


@pytest.fixture(scope="module")
def server(smollm2_folder):
    with Server(smollm2_folder, "--device", "cpu") as server:
        yield server


def exact(logits: torch.Tensor, setting: dict) -> torch.Tensor:
    warpers = LogitsProcessorList([make(setting[name]) for name, make in WARPERS.items() if name in setting])
    return torch.softmax(warpers(torch.empty(1, 0), logits.clone()), -1)[0]


def critical(degrees: int) -> float:
    """The upper quantile of chi-square at 1e-6, by Wilson and Hilferty."""
    return degrees * (1 - 2 / (9 * degrees) + 4.753 * math.sqrt(2 / (9 * degrees))) ** 3


def chi_square(counts: torch.Tensor, chances: torch.Tensor) -> tuple[float, int]:
    """The statistic and its degrees of freedom; tokens that are expected less than five times are counted together."""
    expected = chances * counts.sum()
    often = expected >= 5
    groups = [(counts[often], expected[often])]
    if expected[~often].sum() >= 5:
        groups.append((counts[~often].sum()[None], expected[~often].sum()[None]))
    statistic = sum((((seen - wanted) ** 2) / wanted).sum().item() for seen, wanted in groups)
    return statistic, max(sum(len(seen) for seen, _ in groups) - 1, 1)


def rollouts(server: Server, prompt: list[int], seed: int, **fields) -> dict:
    """Rollouts of one token after the whole of `prompt`, whose last token is taken for the response."""
    body = {
        "prompt_token_ids": prompt[:-1],
        "response_token_ids": prompt[-1:],
        "answer": "1",
        "position": 0,
        "samples": 1,
        "sampling": {"max_tokens": 1, "seed": seed, **fields.pop("sampling", {})},
        **fields,
    }
    answer = server.post("/v1/rollouts", body)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def agree(name: str, counts: torch.Tensor, chances: torch.Tensor) -> None:
    assert (chances[counts > 0] > 0).all(), "a token was drawn that has no chance"
    statistic, degrees = chi_square(counts, chances)
    most = critical(degrees)
    print(f"{name}: chi-square {statistic:.1f} of {most:.1f}, {degrees} degrees, {int((counts > 0).sum())} tokens drawn")
    assert statistic < most


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: ",".join(setting) or "plain")
def test_frequencies_are_those_of_transformers_warpers(server, prompt, logits, setting):
    chances = exact(logits, setting)
    counts = torch.zeros_like(chances)
    plain = {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0}
    for seed in range(REQUESTS):
        alternatives = {"source": "given", "token_ids": [prompt[0]]}
        drawn = rollouts(
            server, prompt, seed, sampling=plain | setting, alternatives=alternatives, original_samples=DRAWS
        )
        for rollout in drawn["rollouts"]:
            if rollout["alternative"] is None:
                counts[rollout["token_ids"][0]] += 1
    assert counts.sum() == DRAWS * REQUESTS
    agree(str(setting), counts, chances)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_alternatives_are_drawn_as_if_the_response_had_no_such_token(server, prompt, logits, temperature):
    """The published rule, where the response's token is the likeliest: the others share what it had."""
    likeliest = int(logits.argmax())
    others = logits.clone()
    others[0, likeliest] = -math.inf
    chances = exact(others, {"temperature": temperature})
    counts = torch.zeros_like(chances)
    for seed in range(REQUESTS):
        alternatives = {"source": "sampled", "count": DRAWS, "temperature": temperature}
        drawn = rollouts(server, [*prompt, likeliest], seed, alternatives=alternatives, original_samples=1)
        for alternative in drawn["alternatives"]:
            counts[alternative["token"]["id"]] += alternative["drawn"]
    assert counts.sum() == DRAWS * REQUESTS and counts[likeliest] == 0
    agree(f"alternatives at {temperature}", counts, chances)
