"""SmolLM2-135M, a published model, from its GGUF file and with adapters that peft trained."""

from functools import cache

import pytest
from compare import likeliest_alike, scored_alike, tokenised_alike
from reference import tokenise
from server import Server
from trajectories import TEXTS, long_text

TEXTS_AND_LONG = TEXTS | {"long": long_text(8)}


@pytest.fixture(scope="module")
def check(smollm2_reference):
    """`check(server, text)` holds what a server says of a text against the reference, which reads each text once."""

    @cache
    def read(text):
        expected = tokenise(smollm2_reference.tokenizer, *TEXTS_AND_LONG[text])
        return expected, smollm2_reference.score(expected.ids, expected.start)

    def check(server, text):
        prompt, response = TEXTS_AND_LONG[text]
        trace = server.score({"prompt": prompt, "response": response, "top_logprobs": 5, "save": False})
        expected, reference = read(text)
        tokenised_alike(trace, expected)
        likeliest_alike(trace["tokens"], reference, 5)
        return scored_alike(trace, reference)

    return check


@pytest.mark.parametrize("text", TEXTS_AND_LONG)
def test_kept_quantised(check, smollm2_server, text, record):
    """The weights stay in 4 bits; what they stand for is multiplied as exactly as if they had been unpacked."""
    record("SmolLM2 GGUF, quantised", check(smollm2_server, text))


@pytest.fixture(scope="module", params=["gguf", "folder"])
def f32_server(request, smollm2_gguf, smollm2_folder, trained):
    """Unpacked to f32 when it is loaded, from the GGUF file and from the folder that transformers made of it."""
    model = smollm2_gguf if request.param == "gguf" else smollm2_folder
    adapters = ("--positive", trained / "positive", "--negative", trained / "negative")
    with Server(model, "--device", "cpu", "--dtype", "f32", *adapters) as server:
        yield request.param, server


@pytest.mark.parametrize("text", ["plain", "odd characters", "long"])
def test_unpacked(check, f32_server, text, record):
    kind, server = f32_server
    record(f"SmolLM2 {kind}, f32", check(server, text))


def test_chat_template(smollm2_server, smollm2_reference):
    """The template comes out of the GGUF file and is rendered as transformers renders it."""
    messages = [{"role": "user", "content": "What is 7 + 5?"}]
    prompt = smollm2_reference.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    trace = smollm2_server.score({"messages": messages, "response": "7 + 5 = 12.", "save": False})
    assert trace["prompt"]["text"] == prompt
    tokenised_alike(trace, tokenise(smollm2_reference.tokenizer, prompt, "7 + 5 = 12."))
