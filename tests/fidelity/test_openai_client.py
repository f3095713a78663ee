"""OpenAI's own Python client against the server: completions, chats and streams, with numbers held to transformers."""

import numpy as np
import openai
import pytest
from compare import LOGPROB, worst
from reference import log_softmax

PROMPT = "Question: A pen costs 3 coins. What do 4 pens cost?\nAnswer:"
CHAT = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def client(smollm2_server):
    with openai.OpenAI(base_url=f"{smollm2_server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def greedy(reference, ids: list[int], count: int, role: str = "base") -> list[int]:
    """The likeliest continuation, one whole pass a token."""
    drawn = []
    for _ in range(count):
        drawn.append(int(reference.logits(role, ids + drawn)[-1].argmax()))
    return drawn


@pytest.mark.parametrize("role", ["base", "positive", "negative"])
def test_a_greedy_completion_is_transformers(client, smollm2_reference, role):
    tokenizer = smollm2_reference.tokenizer
    ids = tokenizer(PROMPT)["input_ids"]
    drawn = greedy(smollm2_reference, ids, 12, role)
    answer = client.completions.create(
        model=role, prompt=PROMPT, max_tokens=12, temperature=0, logprobs=5, extra_body={"ignore_eos": True}
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.text == tokenizer.decode(drawn, skip_special_tokens=True)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 12)
    logits = smollm2_reference.logits(role, ids + drawn)[len(ids) - 1 : -1]
    expected = log_softmax(logits.double().numpy())
    assert worst(choice.logprobs.token_logprobs, expected[np.arange(12), drawn]) <= LOGPROB
    for row, top in zip(expected, choice.logprobs.top_logprobs):
        assert worst(list(top.values()), np.sort(row)[::-1][: len(top)]) <= LOGPROB


def test_the_prompt_comes_as_text_ids_and_lists(client, smollm2_reference):
    ids = smollm2_reference.tokenizer(PROMPT)["input_ids"]
    draw = lambda prompt: client.completions.create(model="base", prompt=prompt, max_tokens=8, temperature=0)
    text = draw(PROMPT).choices[0].text
    assert draw(ids).choices[0].text == text
    for prompts in ([PROMPT, "Once"], [ids, smollm2_reference.tokenizer("Once")["input_ids"]]):
        choices = draw(prompts).choices
        assert [choice.index for choice in choices] == [0, 1]
        assert choices[0].text == text


def test_a_seed_gives_the_same_samples(client):
    draw = lambda **changes: [
        choice.text for choice in client.completions.create(model="base", prompt=PROMPT, max_tokens=8, **changes).choices
    ]
    four = draw(n=4, seed=1)
    assert len(set(four)) > 1
    assert draw(n=4, seed=1) == four
    assert draw(n=2, seed=1) == four[:2]
    assert draw(n=4, seed=2) != four
    assert draw(n=4) != draw(n=4)


def test_an_echo_scores_the_prompt(client, smollm2_reference):
    text = "The naïve café owes 12 coins 🎉."
    tokenizer = smollm2_reference.tokenizer
    ids = tokenizer(text)["input_ids"]
    answer = client.completions.create(model="base", prompt=text, max_tokens=0, echo=True, logprobs=2)
    (choice,) = answer.choices
    logprobs = choice.logprobs
    assert choice.text == text and answer.usage.completion_tokens == 0
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    rows = log_softmax(smollm2_reference.logits("base", ids).double().numpy())[:-1]
    assert worst(logprobs.token_logprobs[1:], rows[np.arange(len(ids) - 1), ids[1:]]) <= LOGPROB
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert len(logprobs.tokens) == len(ids) == len(logprobs.text_offset)
    for token, offset, (start, end) in zip(logprobs.tokens, logprobs.text_offset, offsets):
        assert offset <= start and ("\ufffd" in token or text[offset : offset + len(token)] == token)

    longer = client.completions.create(model="base", prompt=text, max_tokens=4, echo=True, logprobs=2, temperature=0)
    (choice,) = longer.choices
    assert choice.text.startswith(text)
    assert choice.logprobs.token_logprobs[: len(ids)] == logprobs.token_logprobs
    assert choice.logprobs.text_offset[len(ids)] == len(text)


def test_stop_texts_end_a_completion(client):
    draw = lambda **changes: client.completions.create(
        model="base", prompt=PROMPT, max_tokens=24, temperature=0, **changes
    ).choices[0]
    whole = draw().text
    stop = whole[5:9]
    stopped = draw(stop=["not there at all", stop])
    assert stopped.text == whole[: whole.index(stop)] and stopped.finish_reason == "stop"


def test_a_stream_is_the_completion_in_parts(client):
    request = dict(model="base", prompt=[PROMPT, "Once"], n=2, max_tokens=10, seed=3, logprobs=1)
    whole = client.completions.create(**request)
    texts, tokens = [""] * 4, [[] for _ in range(4)]
    reasons, usage = {}, None
    for chunk in client.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


def test_a_chat_goes_through_the_template(client, smollm2_reference):
    tokenizer = smollm2_reference.tokenizer
    prompt = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt)["input_ids"]
    answer = client.chat.completions.create(
        model="base", messages=CHAT, max_completion_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    (choice,) = answer.choices
    logged = choice.logprobs.content
    drawn = greedy(smollm2_reference, ids, len(logged))
    assert choice.message.role == "assistant"
    assert choice.message.content == tokenizer.decode(drawn, skip_special_tokens=True)
    assert answer.usage.prompt_tokens == len(ids)
    assert b"".join(bytes(token.bytes) for token in logged).decode() == tokenizer.decode(drawn)
    rows = log_softmax(smollm2_reference.logits("base", ids + drawn).double().numpy())[len(ids) - 1 : -1]
    assert worst([token.logprob for token in logged], rows[np.arange(len(drawn)), drawn]) <= LOGPROB
    assert all(token.top_logprobs[0].token == token.token for token in logged), "the greedy token is the likeliest"
    # What was answered goes back as it is.
    again = [*CHAT, choice.message, {"role": "user", "content": [{"type": "text", "text": "Another one."}]}]
    assert client.chat.completions.create(model="base", messages=again, max_tokens=4).choices[0].message.content


def test_a_chat_streams(client):
    request = dict(model="base", messages=CHAT, n=2, seed=5, max_tokens=40)
    whole = client.chat.completions.create(**request)
    contents, roles = ["", ""], []
    for chunk in client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            contents[choice.index] += choice.delta.content or ""
            roles += [choice.delta.role] if choice.delta.role else []
    assert contents == [choice.message.content for choice in whole.choices]
    assert roles == ["assistant", "assistant"]


def test_a_client_that_leaves_ends_the_work(client, smollm2_server):
    stream = client.completions.create(
        model="base", prompt=PROMPT, n=8, max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    drawn = lambda: next(
        int(line.split()[-1])
        for line in smollm2_server.http.get(f"{smollm2_server.url}/metrics").text.splitlines()
        if line.startswith("linchpin_completion_tokens_total")
    )
    before = drawn()
    # The device is free again: this would wait for 32,000 tokens otherwise.
    client.completions.create(model="base", prompt=PROMPT, max_tokens=1, timeout=20)
    assert drawn() - before < 2000


@pytest.mark.parametrize(
    "changes, param",
    [
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
        ({"best_of": 3}, "best_of"),
    ],
)
def test_refusals_name_their_field(client, changes, param):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.completions.create(**{"model": "base", "prompt": PROMPT} | changes)
    assert refused.value.param == param and refused.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.completions.create(model="who", prompt=PROMPT)
    assert refused.value.code == "model_not_found"
