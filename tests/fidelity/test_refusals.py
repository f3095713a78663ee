"""Damaged, foreign and unsupported files are refused with a clear error, and no request takes the server down."""

import json
import re
import shutil

import make_models
import pytest
import requests
from safetensors.torch import load_file, save_file
from server import Server, StartFailed, assert_error, assert_error_body
from trajectories import PROBLEM

BODY = {"prompt": PROBLEM.prompt, "response": PROBLEM.wrong.text, "save": False}


@pytest.fixture
def copy(tmp_path):
    """A copy of a tiny checkpoint, to be spoilt."""

    def make(name: str):
        return shutil.copytree(make_models.model(name), tmp_path / name)

    return make


def refused(words: str, model, *flags) -> str:
    """Starts a server that must end at once with an error that matches, and without a panic."""
    with pytest.raises(StartFailed) as failure, Server(model, "--device", "cpu", *flags):
        pass
    text = str(failure.value)
    assert "panicked" not in text and "RUST_BACKTRACE" not in text, text
    assert all(word in text for word in words.split(" ... ")), f"{words!r} is not in:\n{text}"
    return text


def truncate(path, keep: float = 0.6) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])


def edit_json(path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_tokenizer_with_more_tokens_than_the_model(copy):
    model = copy("qwen2")
    tokenizer = model / "tokenizer.json"
    written = json.loads(tokenizer.read_text())
    vocab = written["model"]["vocab"]
    for extra in range(60):
        vocab[f"extra{extra}"] = len(vocab)
    tokenizer.write_text(json.dumps(written))
    refused("448 ... tokenizer", model)


def test_an_unsupported_architecture(copy):
    model = copy("llama2")
    edit_json(model / "config.json", model_type="mamba", architectures=["MambaForCausalLM"])
    refused("mamba ... llama ... mistral ... qwen2 ... qwen3", model)


def test_truncated_safetensors(copy):
    model = copy("qwen3")
    truncate(model / "model.safetensors")
    refused("model.safetensors", model)


def test_a_missing_shard(copy):
    model = copy("llama3")
    shard = sorted(model.glob("model-*.safetensors"))[-1]
    shard.unlink()
    refused(shard.name, model)


def test_a_weight_of_the_wrong_shape(copy):
    model = copy("qwen2")
    edit_json(model / "config.json", intermediate_size=128)
    refused("mlp", model)


def test_a_missing_weight(copy):
    model = copy("qwen3")
    weights = load_file(model / "model.safetensors")
    del weights["model.layers.1.self_attn.k_norm.weight"]
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    refused("layers.1.self_attn.k_norm", model)


@pytest.mark.parametrize("keep", [0.0, 0.00001, 0.01, 0.6])
def test_truncated_gguf(smollm2_gguf, tmp_path, keep):
    spoilt = tmp_path / "spoilt.gguf"
    spoilt.write_bytes(smollm2_gguf.read_bytes()[: int(smollm2_gguf.stat().st_size * keep)])
    refused("spoilt.gguf", spoilt)


def test_a_pickled_checkpoint(copy):
    model = copy("llama2")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused("safetensors", model)


@pytest.mark.parametrize("kind, words", [("dora", "DoRA"), ("modules-to-save", "modules_to_save"), ("bias", "bias")])
def test_adapters_that_are_more_than_lora(kind, words):
    text = refused("", make_models.model("qwen2"), "--positive", make_models.adapter(kind, "qwen2"))
    assert words.lower().replace("_", "") in text.lower().replace("_", ""), text


def test_an_adapter_for_another_base():
    """The error names a module and the shapes that it has and should have."""
    text = refused("", make_models.model("qwen2"), "--positive", make_models.adapter("all-linear", "qwen3"))
    assert re.search(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj.*\[\d+, \d+\].*\[\d+, \d+\]", text), text


def test_a_truncated_adapter(tmp_path):
    folder = shutil.copytree(make_models.adapter("mlp", "qwen2"), tmp_path / "adapter")
    truncate(folder / "adapter_model.safetensors")
    refused("adapter_model.safetensors", make_models.model("qwen2"), "--positive", folder)


def test_a_full_checkpoint_with_another_tokenizer():
    refused("tokenizer", make_models.model("qwen2"), "--positive", make_models.model("llama2"))


def put_a_nan_into(path, name: str) -> None:
    weights = load_file(path)
    weights[name].view(-1)[3] = float("nan")
    save_file(weights, path, {"format": "pt"})


def test_a_model_with_a_weight_that_is_not_a_number(copy):
    """It shows when a request meets it: the request gets an error, in a batch too, and the server lives on."""
    model = copy("qwen2")
    put_a_nan_into(model / "model.safetensors", "model.layers.2.mlp.down_proj.weight")
    adapter = make_models.adapter("mlp", "qwen2")
    with Server(model, "--device", "cpu", "--positive", adapter, "--negative", adapter) as server:
        answer = server.post("/v1/score", BODY)
        assert 400 <= answer.status_code < 600 and answer.status_code != 404, answer.text
        assert_error_body(answer.json(), r"not finite|NaN")
        batch = server.score({"trajectories": [BODY, BODY]})
        assert all("error" in entry for entry in batch["data"])
        assert server.alive and server.http.get(server.url + "/health", timeout=5).ok


def test_an_adapter_with_a_weight_that_is_not_a_number(tmp_path):
    """Small enough to be read as a whole, it is refused when it is loaded."""
    folder = shutil.copytree(make_models.adapter("mlp", "qwen2"), tmp_path / "adapter")
    put_a_nan_into(folder / "adapter_model.safetensors", "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight")
    refused("layers.1.mlp.up_proj ... NaN", make_models.model("qwen2"), "--negative", folder)


@pytest.fixture(scope="module")
def server():
    pair = [make_models.adapter(kind, "qwen2") for kind in ("mlp", "query-value")]
    roles = ("--positive", pair[0], "--negative", pair[1])
    folder = make_models.adapter("", "qwen2")
    with Server(make_models.model("qwen2"), "--device", "cpu", "--adapters-dir", folder, *roles) as running:
        yield running
        assert running.score(BODY)["tokens"], "the server goes on after every refusal"


@pytest.mark.parametrize(
    "change, status, words",
    [
        ({"response": ""}, 422, "response"),
        ({"response": None, "response_token_ids": []}, 422, "response"),
        ({"prompt": "rolls " * 2000}, 422, "context|1024"),
        ({"response": "rolls " * 2000}, 422, "context|1024"),
        ({"response": None, "response_token_ids": [448]}, 422, "448|vocabulary"),
        ({"response": None, "response_token_ids": [-1]}, 422, "response_token_ids|integer|u32"),
        ({"beta": -1.0}, 422, "beta"),
        ({"beta": 1e9}, 422, "beta"),
        ({"top_logprobs": 100000}, 422, "top_logprobs"),
        ({"token_ids": [448]}, 422, "token_ids|448|vocabulary"),
        ({"critical": {"rule": "threshold", "value": 2.0}}, 422, "critical|value"),
        ({"critical": {"rule": "guess"}}, 422, "critical|guess|rule"),
        ({"critical": {"rule": "lowest", "k": 0}}, 422, "critical|k"),
        ({"temperature": 1.0}, 422, "temperature"),
        ({"prompt": None}, 422, "prompt"),
        ({"prompt_token_ids": [1]}, 422, "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, 422, "prompt|messages"),
        ({"prompt": None, "messages": []}, 422, "messages"),
        ({"prompt": 5}, 422, "prompt|string"),
    ],
)
def test_requests_that_are_wrong(server, change, status, words):
    body = {name: value for name, value in (BODY | change).items() if value is not None}
    assert_error(server.post("/v1/score", body), status, words)


def test_a_bad_trajectory_does_not_spoil_its_batch(server):
    data = server.score({"trajectories": [BODY, BODY | {"response": ""}, BODY]})["data"]
    assert [("error" in entry) for entry in data] == [False, True, False]
    assert_error_body(data[1], "response")
    assert data[0]["tokens"] == data[2]["tokens"]


@pytest.mark.parametrize("raw", [b"{", b"", b"\xff\xfe", b'{"prompt": "a"} x', b'{"prompt": NaN}'])
def test_bodies_that_are_not_json(server, raw):
    assert_error(post_raw(server, raw), 400, "")


@pytest.mark.parametrize("raw", [b"[]", b"[" * 100000, b'{"prompt": ' + b'{"a": ' * 100000, b"3"])
def test_bodies_that_are_not_an_object(server, raw):
    answer = post_raw(server, raw)
    assert_error(answer, 400 if answer.status_code == 400 else 422, "")


def post_raw(server, raw: bytes) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return requests.post(server.url + "/v1/score", data=raw, headers=headers, timeout=10)


def test_a_body_that_is_too_large(server):
    try:
        answer = post_raw(server, b'{"prompt": "' + b"x" * (64 << 20) + b'"}')
    except requests.ConnectionError:
        return  # closed while it was still being sent
    assert_error(answer, 413, "")


@pytest.mark.parametrize(
    "path, status, words",
    [
        ("dora", 422, "dora"),
        ("modules-to-save", 422, "modules_to_save"),
        ("bias", 422, "bias"),
        ("nothing", 422, "no such folder"),
        ("../qwen3/mlp", 422, "path|folder"),
        ("/etc", 422, "path|folder"),
        ("", 422, "path"),
    ],
)
def test_adapters_that_are_refused_while_serving(server, path, status, words):
    answer = server.post("/v1/adapters", {"id": "refused", "path": path})
    assert_error(answer, status, words)
    listed = server.http.get(server.url + "/v1/models", timeout=5).json()["data"]
    assert "refused" not in [model["id"] for model in listed]


def test_routes_that_are_not_there(server):
    assert_error(requests.get(server.url + "/v1/nothing", timeout=5), 404, "")
    assert_error(requests.get(server.url + "/v1/traces/trace_nothing", timeout=5), 404, "")
