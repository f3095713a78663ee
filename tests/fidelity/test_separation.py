"""What the score is for: with adapters trained on right and on wrong solutions, it finds the slips in others."""

import numpy as np
import pytest
from problems import problems

HELD_OUT = 40


def auc(lower: list[float], higher: list[float]) -> float:
    """The chance that one of `lower` is below one of `higher`, ties counted half; 0.5 is a coin's."""
    a, b = np.asarray(lower)[:, None], np.asarray(higher)[None, :]
    return float((a < b).mean() + 0.5 * (a == b).mean())


@pytest.fixture(scope="module")
def traces(smollm2_server):
    """(problem, trace of the right solution, trace of the wrong one) of problems that were not trained on."""
    held_out = problems("test", HELD_OUT, seed=7)
    trajectories = [
        {"prompt": problem.prompt, "response": solution.text, "answer": str(problem.answer), "save": False}
        for problem in held_out
        for solution in (problem.right, problem.wrong)
    ]
    data = []
    for start in range(0, len(trajectories), 16):
        data += smollm2_server.score({"trajectories": trajectories[start : start + 16]})["data"]
    assert len(data) == len(trajectories)
    return [(problem, data[2 * i], data[2 * i + 1]) for i, problem in enumerate(held_out)]


def at_slip(problem, trace) -> int:
    """The position of the token that the slip begins with."""
    start, end = (len(problem.wrong.text[:at].encode()) for at in problem.wrong.slip)
    return next(t["position"] for t in trace["tokens"] if t["start"] < end and t["end"] > start)


def log_scores(trace) -> np.ndarray:
    return np.log([token["score"] for token in trace["tokens"]])


def test_the_wrong_token_scores_lowest(traces, record_property):
    slips, others, lowest = [], [], 0
    for problem, _, wrong in traces:
        scores, slip = log_scores(wrong), at_slip(problem, wrong)
        slips.append(scores[slip])
        others += [score for position, score in enumerate(scores) if position != slip]
        lowest += int(scores.argmin() == slip)
    found = auc(slips, others)
    print(f"\nslip against the other tokens of wrong solutions: AUC {found:.3f}, lowest of its solution in {lowest} of {len(traces)}")
    assert found > 0.95
    assert lowest > len(traces) / 2


def test_wrong_solutions_score_lower(traces):
    right, wrong = ([log_scores(trace) for trace in column] for column in zip(*[(r, w) for _, r, w in traces]))
    by_mean = auc([s.mean() for s in wrong], [s.mean() for s in right])
    by_lowest = auc([s.min() for s in wrong], [s.min() for s in right])
    print(f"\nwrong against right solutions: AUC {by_mean:.3f} by mean log s_t, {by_lowest:.3f} by the lowest")
    assert by_mean > 0.85
    assert by_lowest > 0.85


def test_the_slip_is_flagged(traces):
    """The default rule flags the slip in most wrong solutions, and few tokens of right ones."""
    flagged = sum(at_slip(problem, wrong) in wrong["critical"] for problem, _, wrong in traces)
    false_alarms = sum(len(right["critical"]) for _, right, _ in traces)
    tokens = sum(len(right["tokens"]) for _, right, _ in traces)
    print(f"\nflagged slips: {flagged} of {len(traces)}; flagged tokens of right solutions: {false_alarms} of {tokens}")
    assert flagged > 0.7 * len(traces)
    assert false_alarms < 0.1 * tokens


def test_verdicts(traces):
    assert all(right["verdict"]["status"] == "correct" for _, right, _ in traces)
    assert all(wrong["verdict"]["status"] == "wrong" for _, _, wrong in traces)
