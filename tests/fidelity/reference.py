"""The independent reference: what transformers and peft say of a trajectory, in f32, one plain forward pass a model.

Nothing here is shared with the server. The distributions are float64 log-softmaxes of f32 logits over the whole
vocabulary, so what differs is the forward pass alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()

ROLES = ("base", "positive", "negative")


@dataclass
class Tokenised:
    """A trajectory in the Hugging Face tokenizer's eyes."""

    ids: list[int]
    start: int
    """Index of the response's first token."""
    spans: list[tuple[int, int]]
    """Byte offsets of each response token into the UTF-8 response."""
    straddles: bool


def tokenise(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> Tokenised:
    """Tokenises prompt and response together; a token over the boundary belongs to the response."""
    text = prompt + response
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], _character_spans(tokenizer, encoded, text)
    start = next(i for i, (_, end) in enumerate(offsets) if end > len(prompt))
    in_bytes = lambda position: len(text[len(prompt) : max(position, len(prompt))].encode())
    spans = [(in_bytes(first), in_bytes(last)) for first, last in offsets[start:]]
    return Tokenised(ids, start, spans, offsets[start][0] < len(prompt))


def _character_spans(tokenizer, encoded, text: str) -> list[tuple[int, int]]:
    """Each token's span of characters, blanks included.

    Byte-level tokenizers may be set to leave blanks out of their offsets. Their tokens spell bytes, however, so that
    the spans follow from the lengths; tokens that share a character share its span.
    """
    offsets = encoded["offset_mapping"]
    if "ByteLevel" not in str(tokenizer.backend_tokenizer.decoder):
        return offsets
    character_of_byte = [i for i, c in enumerate(text) for _ in c.encode()]
    specials = set(tokenizer.all_special_ids)
    spans, at = [], 0
    for token_id, token, offset in zip(
        encoded["input_ids"], tokenizer.convert_ids_to_tokens(encoded["input_ids"]), offsets
    ):
        if token_id in specials:  # put in front (an empty offset), or spelt out in the text
            spans.append(offset)
            at += len(text[slice(*offset)].encode())
        else:
            spans.append((character_of_byte[at], character_of_byte[at + len(token) - 1] + 1))
            at += len(token)
    assert at == len(character_of_byte), "the tokens do not spell the text"
    return spans


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural log probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def contrast(positive: np.ndarray, negative: np.ndarray, beta: float) -> np.ndarray:
    """log s of equation (3) for every token of the vocabulary: [positions, vocabulary] in, the same out."""
    unnormalised = (1 + beta) * positive - beta * negative
    return log_softmax(unnormalised)


@dataclass
class Reference:
    """Log probabilities by role, each [response positions, vocabulary], float64."""

    token_ids: np.ndarray
    logprobs: dict[str, np.ndarray]
    beta: float

    @property
    def log_scores(self) -> np.ndarray:
        return contrast(self.logprobs["positive"], self.logprobs["negative"], self.beta)

    def entropy(self, role: str) -> np.ndarray:
        logprobs = self.logprobs[role]
        return -(np.exp(logprobs) * logprobs).sum(axis=-1)


class Models:
    """A base and its two fine-tunes: PEFT folders over it, or full checkpoints."""

    def __init__(self, base: Path, positive: Path | None = None, negative: Path | None = None):
        # Not AutoTokenizer: for some architectures it puts a pipeline of its own in place of tokenizer.json's.
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
        self._base = load(base)
        self._checkpoints = {}
        self._adapters = []
        for role, path in (("positive", positive), ("negative", negative)):
            if path is None:
                continue
            if not (path / "adapter_config.json").exists():
                self._checkpoints[role] = load(path)
                continue
            if isinstance(self._base, PeftModel):
                self._base.load_adapter(path, adapter_name=role)
            else:
                self._base = PeftModel.from_pretrained(self._base, path, adapter_name=role)
            self._adapters.append(role)
        self._base.eval()

    def logits(self, role: str, ids: list[int]) -> torch.Tensor:
        """f32 logits of every position of one sequence: [positions, vocabulary]."""
        with torch.inference_mode():
            batch = torch.tensor([ids])
            if role in self._checkpoints:
                return self._checkpoints[role](batch).logits[0]
            if role in self._adapters:
                self._base.set_adapter(role)
                return self._base(batch).logits[0]
            if role == "base" and self._adapters:
                with self._base.disable_adapter():
                    return self._base(batch).logits[0]
            assert role == "base", f"no {role} model"
            return self._base(batch).logits[0]

    def score(self, ids: list[int], start: int, beta: float = 1.0) -> Reference:
        roles = [r for r in ROLES if r == "base" or r in self._adapters or r in self._checkpoints]
        logprobs = {role: log_softmax(self.logits(role, ids)[start - 1 : -1].double().numpy()) for role in roles}
        return Reference(np.array(ids[start:]), logprobs, beta)


def load(folder: Path):
    """A checkpoint in f32 whatever it was stored in, with attention written out."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
