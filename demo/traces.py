"""How well scores find the tokens that rollouts prove critical, and the traces that the demo shows."""

import json
import statistics

from server import Server

# Wrong trajectories that are searched exhaustively, and traces that are kept.
MEASURED, KEPT, KEPT_RIGHT = 120, 24, 6
DRAW = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 100, "stop": [], "seed": 0}


def drawn(server: Server, problem: dict, seed: int) -> dict:
    """A response of the base to a problem, as token ids, graded."""
    prompt = problem["question"] + "\n"
    body = {"model": "base", "prompt": prompt, "max_tokens": 100, "temperature": 0.8, "top_p": 0.95, "seed": seed}
    text = server.post("/v1/completions", body)["choices"][0]["text"]
    verdict = server.post("/v1/verify", {"response": text, "answer": problem["answer"]})
    return {"prompt": prompt, "response": text, "answer": problem["answer"], "status": verdict["status"]}


def trajectories(server: Server, held_out: list[dict], status: str, count: int, first: int = 0):
    found = 0
    for number, problem in enumerate(held_out[first:]):
        row = drawn(server, problem, number)
        if row["status"] == status:
            yield row
            found += 1
            if found == count:
                return


def measure(server: Server, held_out: list[dict]) -> dict:
    """Precision and AUC of finding the token of definition (1), by contrast, entropy, the base's log probability and chance."""
    # How suspicious a token is by each measure: the larger the more.
    measures = {
        "contrast": lambda token: -token["score"],
        "entropy": lambda token: token["entropy"]["base"],
        "logprob": lambda token: -token["logprob"]["base"],
    }
    hits = {name: {"at1": [], "at3": [], "auc": []} for name in [*measures, "chance"]}
    searched = 0
    for row in trajectories(server, held_out, "wrong", MEASURED):
        body = {name: row[name] for name in ("prompt", "response", "answer")}
        search = server.post("/v1/searches", {**body, "strategy": "exhaustive", "samples": 64, "sampling": DRAW})
        searched += 1
        critical = search["critical"]
        if critical is None:
            continue
        tokens = server.post("/v1/score", {**body, "save": False})["tokens"]
        count = len(tokens)
        for name, suspicion in measures.items():
            values = [suspicion(token) for token in tokens]
            others = [value for position, value in enumerate(values) if position != critical]
            above = sum(value > values[critical] for value in others)
            ties = sum(value == values[critical] for value in others)
            # Among ties the place is by chance.
            rank = above + ties / 2
            hits[name]["at1"].append(float(rank < 1))
            hits[name]["at3"].append(float(rank < 3))
            hits[name]["auc"].append(1 - rank / (count - 1))
        for name, value in [("at1", 1 / count), ("at3", min(1, 3 / count)), ("auc", 0.5)]:
            hits["chance"][name].append(value)
    means = {name: {part: statistics.mean(values) for part, values in parts.items()} for name, parts in hits.items()}
    return {"searched": searched, "critical": len(hits["chance"]["at1"]), **means}


def stored(server: Server, held_out: list[dict]) -> list[dict]:
    """Traces with an adaptive search and rollouts at what it found, as the API exports them."""
    half = len(held_out) // 2
    found = []
    wrong = trajectories(server, held_out, "wrong", KEPT, half)
    right = trajectories(server, held_out, "correct", KEPT_RIGHT, half)
    for row in [*wrong, *right]:
        body = {name: row[name] for name in ("prompt", "response", "answer")}
        trace = server.post("/v1/score", {**body, "critical": {"rule": "lowest", "k": 1}, "top_logprobs": 5, "tags": ["demo"]})
        if row["status"] == "wrong":
            search = server.post("/v1/searches", {"trace_id": trace["id"], "answer": row["answer"], "sampling": DRAW})
            position = search["critical"] if search["critical"] is not None else trace["critical"][0]
            server.post("/v1/rollouts", {
                "trace_id": trace["id"], "position": position, "answer": row["answer"], "sampling": DRAW,
                "alternatives": {"source": "sampled", "count": 32}, "original_samples": 32,
            })
        exported = server.request("GET", f"/v1/traces/{trace['id']}/export?format=jsonl")
        found.append(json.loads(exported))
    return found
