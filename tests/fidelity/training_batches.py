"""One small batch for each kind of training, of lengths that make every mistake with padding or positions show."""

import random

VOCABULARY = 420
"""As many as the tiny tokenizers have tokens for; the models have some rows more."""
LENGTHS = [(9, 1, 1), (70, 33, 12), (3, 20, 41), (1, 1, 17), (70, 5, 9)]
"""Of prompt, chosen and rejected response; the second and the last share their prompt."""


def preference_rows(seed: int = 0) -> list[dict]:
    draw = random.Random(seed)
    some = lambda count: [draw.randrange(VOCABULARY) for _ in range(count)]
    parts = ("prompt_token_ids", "chosen_token_ids", "rejected_token_ids")
    rows = [dict(zip(parts, map(some, lengths))) for lengths in LENGTHS]
    rows[-1]["prompt_token_ids"] = rows[1]["prompt_token_ids"]
    rows[1]["rejected_token_ids"][:6] = rows[1]["chosen_token_ids"][:6]  # as two answers to a question often begin
    for row in rows:
        for side in ("chosen", "rejected"):
            row[f"{side}_weights"] = [draw.choice((0.0, 1.0, draw.random())) for _ in row[f"{side}_token_ids"]]
    del rows[0]["chosen_weights"], rows[0]["rejected_weights"], rows[4]["chosen_weights"]
    return rows


def sft_rows(seed: int = 1) -> list[dict]:
    """Each chosen response, and one rejected one."""
    pairs = preference_rows(seed)
    sides = [(row, "chosen") for row in pairs] + [(pairs[2], "rejected")]
    parts = ("prompt_token_ids", "response_token_ids")
    return [dict(zip(parts, (row["prompt_token_ids"], row[f"{side}_token_ids"]))) for row, side in sides]


def rows_of(kind: str) -> list[dict]:
    return sft_rows() if kind == "sft" else preference_rows()
