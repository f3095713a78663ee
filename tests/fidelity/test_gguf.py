"""GGUF files of every architecture and quantisation against transformers on the unpacked weights."""

import make_gguf
import pytest
from compare import likeliest_alike, scored_alike, tokenised_alike
from reference import Models, tokenise
from server import Server
from trajectories import TEXTS


@pytest.mark.parametrize("dtype", ["auto", "f32"])
@pytest.mark.parametrize("name", make_gguf.SPECS)
def test_kept_quantised_and_unpacked(name, dtype, record):
    """Left as it is, or unpacked to f32 when it is loaded: the numbers are those of the weights it stands for."""
    file, unpacked = make_gguf.gguf_pair(name)
    models = Models(unpacked)
    with Server(file, "--device", "cpu", "--dtype", dtype) as server:
        for prompt, response in TEXTS.values():
            trace = server.score({"prompt": prompt, "response": response, "top_logprobs": 3, "save": False})
            expected = tokenise(models.tokenizer, prompt, response)
            tokenised_alike(trace, expected)
            reference = models.score(expected.ids, expected.start)
            record(f"GGUF {name}, {dtype}", scored_alike(trace, reference))
            likeliest_alike(trace["tokens"], reference, 3)
