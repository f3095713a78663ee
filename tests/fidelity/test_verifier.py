"""`linchpin verify` against Math-Verify and against what is known: a drawn corpus, and responses written by hand.

The verifier must be right on every case, which is known by construction. Where Math-Verify says otherwise, one of RULES
has to explain it: a disagreement that no rule covers fails, and so does a rule that nothing needs.
"""

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from answers import Case, cases, words
from math_verify import parse, verify
from server import binary

CASES = 3000
WORDS = 12
SEED = 1
LEAST_AGREEMENT = 0.98
BY_HAND = Path(__file__).with_name("answers.jsonl")


@dataclass(frozen=True)
class Rule:
    """A class of disagreements, and why it is ours that is right."""

    name: str
    why: str
    covers: Callable[[Case], bool]


RULES = [
    Rule(
        "runs on",
        "Math-Verify takes the last answer of the highest priority in the whole text; here the first final answer counts, "
        "and what follows a new `Question:` is not the response's own.",
        lambda case: case.style == "runs on",
    ),
    Rule(
        "words",
        "Math-Verify reads no number words; here `eight` answers a reference that is a number.",
        lambda case: case.kind == "words",
    ),
    Rule(
        "scaled inequality",
        "Math-Verify compares an inequality's sides as they stand; here `2x > 6` is `x > 3`, as for equations.",
        lambda case: case.kind == "inequality" and case.answer.startswith("2x"),
    ),
    Rule(
        "decimals as floats",
        "Math-Verify reads `8.3 \\times 10^{8}` as a float of 15 digits and rounds at the sixth place, so that "
        "it may differ from `83 \\times 10^{7}`; here decimals are exact.",
        lambda case: case.kind == "scientific" and case.right,
    ),
]
BY_HAND_RULES = {
    "runs on": "As above.",
    "words": "As above.",
    "percent": "Math-Verify lets `50%` answer 50 for whole numbers only; here `12.5%` answers 12.5 too.",
    "mixed": "Math-Verify reads `3 1/2` outside LaTeX as 31/2 or as its parts.",
}


def graded(rows: list[dict]) -> list[dict]:
    """The verdicts of `linchpin verify` in the rows' order."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    run = subprocess.run([binary(), "verify", "-"], input=text, capture_output=True, text=True, timeout=120, check=True)
    verdicts = [json.loads(line)["verdict"] for line in run.stdout.splitlines()]
    assert len(verdicts) == len(rows), run.stderr
    return verdicts


def math_verify(pair: tuple[str, str]) -> bool:
    """Math-Verify's word on a reference and a response. Its own time limits would make it depend on the machine's load."""
    reference, response = pair
    gold = reference.rsplit("####", 1)[-1].strip()
    return verify(parse(f"${gold}$", parsing_timeout=60), parse(response, parsing_timeout=60), timeout_seconds=60)


@pytest.fixture(scope="module")
def corpus() -> list[tuple[Case, dict]]:
    drawn = cases(CASES, SEED) + words(WORDS, SEED)
    return list(zip(drawn, graded([{"response": case.response, "answer": case.reference} for case in drawn]), strict=True))


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_every_drawn_case_is_graded_right(corpus):
    mistakes = [(case, verdict) for case, verdict in corpus if (verdict["status"] == "correct") != case.right]
    assert not mistakes, f"{len(mistakes)} of {len(corpus)}, such as {mistakes[:5]}"
    assert {verdict["status"] for _, verdict in corpus} == {"correct", "wrong"}


def test_spans_are_the_extracted_text(corpus):
    for case, verdict in corpus:
        start, end = verdict["span"]
        assert case.response.encode()[start:end].decode() == verdict["extracted"]


def test_math_verify_agrees_or_a_rule_says_why(corpus):
    with ProcessPoolExecutor(initializer=logging.disable, initargs=(logging.WARNING,)) as pool:
        theirs = list(pool.map(math_verify, [(case.reference, case.response) for case, _ in corpus], chunksize=20))
    disagreements = [
        case for (case, verdict), said in zip(corpus, theirs, strict=True) if said != (verdict["status"] == "correct")
    ]
    used, unexplained = Counter(), []
    for case in disagreements:
        rule = next((rule for rule in RULES if rule.covers(case)), None)
        if rule is None:
            unexplained.append(case)
        else:
            used[rule.name] += 1
    agreement = 1 - len(disagreements) / len(corpus)
    print(f"\nMath-Verify agrees on {agreement:.2%} of {len(corpus)} cases; otherwise: {dict(used)}")
    assert not unexplained, f"{len(unexplained)}, such as {unexplained[:5]}"
    assert set(used) == {rule.name for rule in RULES}, "a rule that explains nothing is to be deleted"
    assert agreement >= LEAST_AGREEMENT


def test_responses_written_by_hand():
    rows = [json.loads(line) for line in BY_HAND.read_text().splitlines()]
    verdicts = graded([{"response": row["response"], "answer": row["answer"]} for row in rows])
    used = set()
    for row, verdict in zip(rows, verdicts, strict=True):
        ours = verdict["status"] == "correct"
        assert ours == row["correct"], (row, verdict)
        theirs = math_verify((row["answer"], row["response"]))
        assert (theirs != ours) == ("differs" in row), (row, verdict, theirs)
        used |= {row.get("differs")} - {None}
    assert used == set(BY_HAND_RULES)
