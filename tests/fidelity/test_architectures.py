"""Every supported architecture and every kind of adapter against transformers + peft, on tiny random-weight models."""

import make_models
import pytest
from compare import likeliest_alike, scored_alike, tokenised_alike
from reference import Models, tokenise
from server import Server
from trajectories import TEXTS, long_text

PAIRS = {
    "llama2": ("all-linear", "mlp"),
    "llama-tied-sharded": ("mlp", "query-value"),
    "llama3": ("query-value", "all-linear"),
    "llama3-old-config": ("patterns", "mlp"),
    "llama-bf16": ("all-linear", "rank-stabilised"),
    "mistral": ("rank-stabilised", "all-linear"),
    "qwen2": ("patterns", "rank-stabilised"),
    "qwen2-f16": ("mlp", "all-linear"),
    "qwen3": ("all-linear", "patterns"),
    "qwen3-untied": ("one-layer", "regex"),
}
"""Which adapter plays the positive part and which the negative one on each base."""

TEXTS_AND_LONG = TEXTS | {"long": long_text(4)}


@pytest.fixture(scope="module", params=list(make_models.SPECS))
def pair(request):
    """A server and the reference with the same base and adapters."""
    name = request.param
    base = make_models.model(name)
    positive, negative = (make_models.adapter(kind, name) for kind in PAIRS[name])
    reference = Models(base, positive, negative)
    flags = ("--device", "cpu", "--dtype", "f32", "--positive", positive, "--negative", negative)
    with Server(base, *flags) as server:
        yield name, server, reference


@pytest.mark.parametrize("text", TEXTS_AND_LONG)
def test_tokens_and_scores(pair, text, record):
    name, server, models = pair
    prompt, response = TEXTS_AND_LONG[text]
    trace = server.score({"prompt": prompt, "response": response, "top_logprobs": 4, "save": False})
    expected = tokenise(models.tokenizer, prompt, response)
    tokenised_alike(trace, expected)
    reference = models.score(expected.ids, expected.start)
    record(name, scored_alike(trace, reference))
    likeliest_alike(trace["tokens"], reference, 4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_beta(pair, beta):
    name, server, models = pair
    ids = tokenise(models.tokenizer, *TEXTS["plain"]).ids
    trace = server.score({"prompt_token_ids": ids[:9], "response_token_ids": ids[9:], "beta": beta, "save": False})
    scored_alike(trace, models.score(ids, 9, beta))


def test_tokens_of_the_callers_choice(pair):
    """They follow the likeliest ones in the caller's order, listed again where they are among those."""
    _, server, models = pair
    expected = tokenise(models.tokenizer, *TEXTS["plain"])
    chosen = [400, 7, 31]
    body = {"prompt_token_ids": expected.ids[: expected.start], "response_token_ids": expected.ids[expected.start :]}
    trace = server.score(body | {"token_ids": chosen, "top_logprobs": 2, "save": False})
    reference = models.score(expected.ids, expected.start)
    scored_alike(trace, reference)
    likeliest_alike(trace["tokens"], reference, 2)
    assert all([top["id"] for top in token["top"][2:]] == chosen for token in trace["tokens"])


@pytest.mark.parametrize("kind", make_models.ADAPTERS)
def test_each_kind_of_adapter(kind, record):
    base = make_models.model("qwen2")
    adapter, other = make_models.adapter(kind, "qwen2"), make_models.adapter("query-value", "qwen2")
    models = Models(base, adapter, other)
    expected = tokenise(models.tokenizer, *TEXTS["plain"])
    with Server(base, "--device", "cpu", "--dtype", "f32", "--positive", adapter, "--negative", other) as server:
        prompt, response = TEXTS["plain"]
        trace = server.score({"prompt": prompt, "response": response, "save": False})
    record(f"adapter: {kind}", scored_alike(trace, models.score(expected.ids, expected.start)))


def test_full_checkpoints_as_positive_and_negative(record):
    """Another checkpoint with the same tokenizer may stand in an adapter's place."""
    base, positive = make_models.model("qwen2"), make_models.model("qwen2-f16")
    negative = make_models.adapter("mlp", "qwen2")
    models = Models(base, positive, negative)
    expected = tokenise(models.tokenizer, *TEXTS["plain"])
    with Server(base, "--device", "cpu", "--dtype", "f32", "--positive", positive, "--negative", negative) as server:
        prompt, response = TEXTS["plain"]
        trace = server.score({"prompt": prompt, "response": response, "save": False})
    record("full checkpoint as positive", scored_alike(trace, models.score(expected.ids, expected.start)))


def test_base_alone(record):
    base = make_models.model("qwen3")
    models = Models(base)
    expected = tokenise(models.tokenizer, *TEXTS["plain"])
    with Server(base, "--device", "cpu", "--dtype", "f32") as server:
        prompt, response = TEXTS["plain"]
        trace = server.score({"prompt": prompt, "response": response, "save": False})
    record("base alone", scored_alike(trace, models.score(expected.ids, expected.start)))
    assert trace["critical"] == []


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_half_precision_is_near(dtype):
    """Half precision is a choice of the operator's: its numbers are near the f32 ones, and not the f32 ones."""
    base = make_models.model("llama-bf16")
    positive, negative = (make_models.adapter(kind, "llama-bf16") for kind in ("mlp", "query-value"))
    models = Models(base, positive, negative)
    expected = tokenise(models.tokenizer, *TEXTS["plain"])
    with Server(base, "--device", "cpu", "--dtype", dtype, "--positive", positive, "--negative", negative) as server:
        prompt, response = TEXTS["plain"]
        trace = server.score({"prompt": prompt, "response": response, "save": False})
    reference = models.score(expected.ids, expected.start)
    for role, logprobs in reference.logprobs.items():
        own = logprobs[range(len(reference.token_ids)), reference.token_ids]
        off = [abs(t["logprob"][role] - o) for t, o in zip(trace["tokens"], own)]
        assert sum(off) / len(off) < 0.1, f"{role}: {off}"


def test_messages_go_through_the_chat_template():
    base = make_models.model("qwen2")
    models = Models(base)
    messages = [{"role": "system", "content": " Count. "}, {"role": "user", "content": "7 + 5?"}]
    prompt = models.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    with Server(base, "--device", "cpu", "--dtype", "f32") as server:
        trace = server.score({"messages": messages, "response": " The answer is 12.", "save": False})
    expected = tokenise(models.tokenizer, prompt, " The answer is 12.")
    assert trace["prompt"]["text"] == prompt
    tokenised_alike(trace, expected)
    scored_alike(trace, models.score(expected.ids, expected.start))


def test_roles_are_swapped_while_serving(record):
    """Adapters that are loaded and given roles over HTTP score as those that were there from the start."""
    base = make_models.model("qwen2")
    kinds = ("mlp", "all-linear")
    with Server(base, "--device", "cpu", "--dtype", "f32", "--adapters-dir", make_models.adapter("", "qwen2")) as server:
        for kind in kinds:
            answer = server.post("/v1/adapters", {"id": f"tiny-{kind}", "path": kind})
            assert answer.ok, answer.text
        prompt, response = TEXTS["plain"]
        for positive, negative in (kinds, kinds[::-1]):
            roles = {"positive": f"tiny-{positive}", "negative": f"tiny-{negative}"}
            answer = server.http.put(server.url + "/v1/roles", json=roles, timeout=30)
            assert answer.ok, answer.text
            trace = server.score({"prompt": prompt, "response": response, "save": False})
            models = Models(base, *(make_models.adapter(kind, "qwen2") for kind in (positive, negative)))
            expected = tokenise(models.tokenizer, prompt, response)
            record("roles swapped", scored_alike(trace, models.score(expected.ids, expected.start)))
