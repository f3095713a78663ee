"""The same trajectory gives the same numbers, whatever is scored beside it and however the work is cut up."""

from concurrent.futures import ThreadPoolExecutor

import make_models
import numpy as np
import pytest
from compare import scored_alike
from reference import Models
from server import Server
from trajectories import TEXTS, long_text

TRAJECTORIES = [*TEXTS.values(), *(long_text(n, seed=n) for n in (1, 2, 4, 3))]
AGREEMENT = 1e-6


@pytest.fixture(scope="module", params=["llama3", "mistral", "smollm2"])
def server(request):
    if request.param == "smollm2":
        yield request.param, request.getfixturevalue("smollm2_server")
        return
    pair = [make_models.adapter(kind, request.param) for kind in ("all-linear", "mlp")]
    flags = ("--device", "cpu", "--positive", pair[0], "--negative", pair[1])
    with Server(make_models.model(request.param), *flags) as tiny:
        yield request.param, tiny


@pytest.fixture(scope="module")
def alone(server):
    """Each trajectory scored with nothing else in flight."""
    return [numbers(server[1].score(body(trajectory))) for trajectory in TRAJECTORIES]


def body(trajectory: tuple[str, str]) -> dict:
    prompt, response = trajectory
    return {"prompt": prompt, "response": response, "top_logprobs": 3, "save": False}


def numbers(trace: dict) -> np.ndarray:
    """All that was computed: [positions, numbers]."""
    roles = ("base", "positive", "negative")
    return np.array(
        [
            [token[kind][role] for kind in ("logprob", "entropy", "rank") for role in roles]
            + [token["score"]]
            + [top[name] for top in token["top"] for name in ("id", *roles, "score")]
            for token in trace["tokens"]
        ]
    )


def assert_same(name: str, how: str, many: list[np.ndarray], alone: list[np.ndarray]) -> None:
    worst = max(np.abs(one - other).max() for one, other in zip(many, alone, strict=True))
    identical = all((one == other).all() for one, other in zip(many, alone, strict=True))
    print(f"\n{name}, {how}: {'bit for bit the same' if identical else f'within {worst:.1e}'}")
    assert worst <= AGREEMENT


def test_again(server, alone):
    name, http = server
    assert_same(name, "scored again", [numbers(http.score(body(t))) for t in TRAJECTORIES], alone)


def test_in_a_batch(server, alone):
    name, http = server
    answer = http.score({"trajectories": [body(t) for t in TRAJECTORIES]})
    assert_same(name, "in an uneven batch", [numbers(trace) for trace in answer["data"]], alone)


def test_with_eight_clients(server, alone):
    name, http = server
    order = [(client + i) % len(TRAJECTORIES) for client in range(8) for i in range(len(TRAJECTORIES) // 2)]

    def ask(index: int) -> np.ndarray:
        for _ in range(200):
            answer = http.post("/v1/score", body(TRAJECTORIES[index]))
            if answer.status_code != 429:  # a full queue may say so, and nothing else
                assert answer.status_code == 200, answer.text[:500]
                return numbers(answer.json())
        raise AssertionError("the queue stayed full")

    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(ask, order))
    assert_same(name, "with eight clients at once", together, [alone[index] for index in order])


def test_the_boundary_only_chooses_what_is_reported(server):
    """A prompt's last tokens scored as response give the numbers that they have as response of a shorter prompt."""
    name, http = server
    ids = http.score(body(TRAJECTORIES[-1]))
    ids = ids["prompt"]["token_ids"] + [token["id"] for token in ids["tokens"]]
    request = lambda start: {"prompt_token_ids": ids[:start], "response_token_ids": ids[start:], "save": False}
    early, late = (numbers(http.score(request(start) | {"top_logprobs": 3})) for start in (1, len(ids) - 20))
    assert_same(name, "as the end of a longer response", [late], [early[-20:]])


def test_as_long_as_the_context(record):
    """A trajectory that fills the context is right to its end, past every block that the work may be cut into."""
    name = "qwen3"
    base, pair = make_models.model(name), [make_models.adapter(kind, name) for kind in ("all-linear", "mlp")]
    models = Models(base, *pair)
    text = "".join(long_text(24))
    ids = (models.tokenizer(text)["input_ids"])[:1024]
    assert len(ids) == 1024
    with Server(base, "--device", "cpu", "--dtype", "f32", "--positive", pair[0], "--negative", pair[1]) as http:
        trace = http.score({"prompt_token_ids": ids[:3], "response_token_ids": ids[3:], "save": False})
    record(f"{name}, 1024 tokens", scored_alike(trace, models.score(ids, 3)))
