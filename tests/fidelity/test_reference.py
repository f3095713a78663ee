"""The reference itself: the score computed in ways that share nothing, and pieces whose answers are known."""

import math
import re
from fractions import Fraction

import make_gguf
import make_models
import numpy as np
import pytest
import torch
from make_models import respell
from problems import problems
from reference import Models, contrast, load, log_softmax, tokenise
from trajectories import ODD, TEXTS
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


@pytest.fixture(scope="module")
def models():
    pair = (make_models.adapter(kind, "qwen3") for kind in ("all-linear", "mlp"))
    return Models(make_models.model("qwen3"), *pair)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_score_is_the_softmax_of_contrasted_logits(models, beta):
    """Equation (3) on probabilities equals softmax((1 + beta) logits_p - beta logits_q), as the paper says."""
    ids = tokenise(models.tokenizer, *TEXTS["plain"]).ids
    by_probability = models.score(ids, 5, beta).log_scores
    positive, negative = (models.logits(role, ids)[4:-1].double() for role in ("positive", "negative"))
    by_logits = torch.log_softmax((1 + beta) * positive - beta * negative, dim=-1).numpy()
    assert np.abs(by_probability - by_logits).max() < 1e-9


def test_score_by_hand():
    """p = (1/2, 1/3, 1/6), q = (1/4, 1/4, 1/2): p^2/q = (1, 4/9, 1/18), Z = 3/2."""
    p, q = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)]
    weights = [a * a / b for a, b in zip(p, q)]
    assert sum(weights) == Fraction(3, 2)
    scores = np.exp(contrast(np.log([[float(a) for a in p]]), np.log([[float(b) for b in q]]), 1.0))[0]
    assert scores == pytest.approx([float(w / Fraction(3, 2)) for w in weights], abs=1e-15)


def test_log_softmax_of_extreme_logits():
    values = log_softmax(np.array([[1e4, 0.0, -1e4]]))
    assert values[0].tolist() == [0.0, -1e4, -2e4]
    assert log_softmax(np.zeros((1, 8)))[0, 3] == pytest.approx(-math.log(8))


def test_adapters_change_the_numbers(models):
    ids = tokenise(models.tokenizer, *TEXTS["plain"]).ids
    logprobs = models.score(ids, 5).logprobs
    for one, other in (("base", "positive"), ("positive", "negative"), ("base", "negative")):
        assert np.abs(logprobs[one] - logprobs[other]).mean() > 0.05


@pytest.mark.parametrize("name", make_models.SPECS)
def test_distributions_are_far_from_uniform(name):
    """Else a wrong forward pass could hide: a checkpoint's entropy is well under that of a uniform guess, and not zero."""
    models = Models(make_models.model(name))
    entropy = models.score(tokenise(models.tokenizer, *TEXTS["plain"]).ids, 5).entropy("base").mean()
    assert 1.0 < entropy < 0.92 * math.log(make_models.VOCAB), entropy


def test_the_sliding_window_matters():
    """The mistral checkpoint's window is shorter than the texts: a pass without it gives other numbers."""
    models = Models(make_models.model("mistral"))
    ids = tokenise(models.tokenizer, *TEXTS["plain"]).ids
    window = models._base.config.sliding_window
    assert len(ids) > window + 20
    windowed = models.logits("base", ids)
    models._base.config.sliding_window = None
    for layer in models._base.model.layers:
        layer.self_attn.sliding_window = None
    full = models.logits("base", ids)
    assert (windowed[:window] - full[:window]).abs().max() < 1e-4
    assert (windowed[window + 5 :] - full[window + 5 :]).abs().mean() > 0.01


@pytest.mark.parametrize("name", ["llama2", "qwen2"])
def test_spans_lead_back_to_the_text(name):
    models = Models(make_models.model(name))
    prompt, response = ODD
    expected = tokenise(models.tokenizer, prompt, response)
    raw = response.encode()
    covered = set()
    for start, end in expected.spans:
        raw[start:end].decode()  # no span cuts a character
        covered |= set(range(start, end))
    assert covered == set(range(len(raw)))


def test_ropes_divisors_in_gguf_are_transformers_own():
    """GGUF stores Llama 3's rope scaling as divisors of the frequencies, which transformers does not read back."""
    config = make_gguf.SPECS["llama-q4_0-q8_0"].config
    scaled = LlamaRotaryEmbedding(config).inv_freq.numpy()
    width = config.hidden_size // config.num_attention_heads
    plain = config.rope_parameters["rope_theta"] ** (-np.arange(0, width, 2) / width)
    divisors = make_gguf.llama3_divisors(config)
    assert divisors.min() == 1.0 and divisors.max() == 8.0 and ((divisors > 1) & (divisors < 8)).any()
    assert plain / divisors == pytest.approx(scaled, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in make_gguf.SPECS if not name.startswith("llama")])
def test_transformers_reads_the_gguf_files_alike(name):
    file, unpacked = make_gguf.gguf_pair(name)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    for key, weight in load(unpacked).state_dict().items():
        assert torch.equal(weight, read.state_dict()[key]), key


def test_config_spellings():
    old = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "torch_dtype": "bfloat16"}
    new = {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "rope_theta": 5e5}, "dtype": "bfloat16"}
    assert respell(dict(old), 5) == new
    assert respell(dict(new), 4) == old


def test_problems_are_what_they_say():
    made = problems("train", 200)
    assert made == problems("train", 200)
    assert not {p.prompt for p in made} & {p.prompt for p in problems("test", 200)}
    for problem in made:
        assert f"The answer is {problem.right.answer}." in problem.right.text
        start, end = problem.wrong.slip
        assert problem.right.text[:start] == problem.wrong.text[:start], "right until the slip"
        assert (problem.right.text[start:end], problem.wrong.text[start:end]) == (" -", " +")
        assert problem.right.answer < problem.wrong.answer
        for solution in (problem.right, problem.wrong):
            for left, right in re.findall(r"(\d+ [+-] \d+) = (\d+)", solution.text):
                assert eval(left) == int(right), "a slip misunderstands; it does not miscalculate"
