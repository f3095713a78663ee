"""Holds a server's trace against the reference, number by number."""

from dataclasses import dataclass, field

import numpy as np
from reference import ROLES, Reference, Tokenised

LOGPROB = 1e-4
SCORE = 1e-4
LOG_SCORE = 1e-3
"""Of log s_t, which sums up to four errors of LOGPROB and shows the small scores that SCORE is blind to."""
ENTROPY = 1e-3


@dataclass
class Differences:
    """The largest absolute differences seen, and over how many numbers."""

    logprob: float = 0.0
    score: float = 0.0
    log_score: float = 0.0
    entropy: float = 0.0
    tokens: int = 0
    near_ties: int = 0
    lowest_score: float = field(default=1.0)

    def merge(self, other: "Differences") -> None:
        for name in ("logprob", "score", "log_score", "entropy"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.tokens += other.tokens
        self.near_ties += other.near_ties
        self.lowest_score = min(self.lowest_score, other.lowest_score)


def tokenised_alike(trace: dict, expected: Tokenised) -> None:
    """The server's ids, boundary and byte offsets are the Hugging Face tokenizer's."""
    tokens = trace["tokens"]
    assert trace["prompt"]["token_ids"] == expected.ids[: expected.start]
    assert [token["id"] for token in tokens] == expected.ids[expected.start :]
    assert [token["position"] for token in tokens] == list(range(len(tokens)))
    assert [(token["start"], token["end"]) for token in tokens] == expected.spans
    assert trace["response"]["straddles_boundary"] == expected.straddles
    assert trace["usage"] == {"prompt_tokens": expected.start, "response_tokens": len(tokens)}


def scored_alike(trace: dict, reference: Reference) -> Differences:
    """Every number of the trace is the reference's; returns how far off they were."""
    tokens, rows = trace["tokens"], np.arange(len(reference.token_ids))
    assert [token["id"] for token in tokens] == reference.token_ids.tolist()
    assert trace["normalizer"] == "exact"
    seen = Differences(tokens=len(tokens))
    for role in ROLES:
        values = [token["logprob"][role] for token in tokens]
        if role not in reference.logprobs:
            assert values == [None] * len(tokens), f"{role} has no model"
            continue
        logprobs = reference.logprobs[role]
        seen.logprob = max(seen.logprob, worst(values, logprobs[rows, reference.token_ids]))
        seen.entropy = max(seen.entropy, worst([t["entropy"][role] for t in tokens], reference.entropy(role)))
        seen.near_ties += ranked_alike([t["rank"][role] for t in tokens], logprobs, reference.token_ids)
    if len(reference.logprobs) == len(ROLES):
        expected = reference.log_scores[rows, reference.token_ids]
        scores = np.array([token["score"] for token in tokens])
        seen.score = worst(scores, np.exp(expected))
        assert (scores > 0).all(), "a score of zero has no logarithm"
        seen.log_score = worst(np.log(scores), expected)
        seen.lowest_score = scores.min()
    else:
        assert all(token["score"] is None for token in tokens)
    alternatives_alike(tokens, reference)
    assert seen.logprob <= LOGPROB, seen
    assert seen.score <= SCORE, seen
    assert seen.log_score <= LOG_SCORE, seen
    assert seen.entropy <= ENTROPY, seen
    return seen


def ranked_alike(ranks: list[int], logprobs: np.ndarray, token_ids: np.ndarray) -> int:
    """Ranks are exact, but for tokens so close to another that f32 cannot order them; returns how many those are."""
    near_ties = 0
    for row, (rank, token_id) in enumerate(zip(ranks, token_ids)):
        own = logprobs[row, token_id]
        surely = int((logprobs[row] > own + 2 * LOGPROB).sum())
        perhaps = int((logprobs[row] > own - 2 * LOGPROB).sum()) - 1  # less the token itself
        assert surely <= rank <= perhaps, f"position {row}: rank {rank}, expected {surely} to {perhaps}"
        near_ties += surely != perhaps
    return near_ties


def alternatives_alike(tokens: list[dict], reference: Reference) -> None:
    """The alternatives' numbers are the reference's, whichever tokens they are."""
    complete = len(reference.logprobs) == len(ROLES)
    log_scores = reference.log_scores if complete else None
    for row, token in enumerate(tokens):
        ids = [top["id"] for top in token["top"]]
        for role, logprobs in reference.logprobs.items():
            off = worst([top[role] for top in token["top"]], logprobs[row, ids])
            assert off <= LOGPROB, f"position {row}, {role}: {off:.1e}"
        if complete:
            assert worst([top["score"] for top in token["top"]], np.exp(log_scores[row, ids])) <= SCORE


def likeliest_alike(tokens: list[dict], reference: Reference, count: int) -> None:
    """The first `count` alternatives are the base's likeliest tokens, likeliest first."""
    for row, token in enumerate(tokens):
        ids = [top["id"] for top in token["top"][:count]]
        assert len(set(ids)) == count, f"position {row}: {ids}"
        expected = np.sort(reference.logprobs["base"][row])[::-1][:count]
        listed = reference.logprobs["base"][row, ids]
        assert worst(listed, expected) <= LOGPROB, f"position {row}"


def worst(values, expected) -> float:
    values, expected = np.asarray(values, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert values.shape == expected.shape
    assert np.isfinite(values).all()
    return float(np.abs(values - expected).max(initial=0.0))
