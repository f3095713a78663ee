"""Arithmetic word problems of two or three steps, with right solutions and with wrong ones that slip in one step.

The slip is a misunderstanding, not a miscalculation: what is lost is added ("Mira loses 4 pencils: 13 + 4 = 17"), and
the solution goes on from there without another fault. So the place of the first wrong token is known, which is what a
contrastive score should find. Everything is drawn from a seed; training and held-out problems share no name and no thing.
"""

import random
from dataclasses import dataclass

NAMES = {
    "train": ["Ana", "Boris", "Chen", "Dara", "Emil", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Leo"],
    "test": ["Mira", "Nils", "Olga", "Pavel", "Rosa", "Sven", "Tara", "Yusuf"],
}
THINGS = {
    "train": ["marbles", "stamps", "pears", "shells", "buttons", "candles", "ribbons", "coins", "plums", "beads"],
    "test": ["pencils", "acorns", "stickers", "lemons", "postcards", "cookies"],
}
GAINS = ["{name} buys {b} more {things}", "A neighbour brings {name} {b} {things}", "{name} finds {b} {things}"]
LOSSES = ["{name} gives away {b} {things}", "{name} loses {b} {things}", "{name} sells {b} {things}"]


@dataclass(frozen=True)
class Solution:
    """A response to a problem."""

    text: str
    answer: int
    slip: tuple[int, int] | None
    """Characters of the first wrong token, a sign with the blank before it."""


@dataclass(frozen=True)
class Problem:
    """A prompt with a right solution and a wrong one."""

    prompt: str
    right: Solution
    wrong: Solution

    @property
    def answer(self) -> int:
        return self.right.answer


@dataclass(frozen=True)
class Step:
    """What happens to the number of things."""

    event: str
    amount: int
    is_loss: bool


def problems(split: str, count: int, seed: int = 0) -> list[Problem]:
    """`count` problems of a split, "train" or "test". The same arguments give the same problems."""
    draw = random.Random(f"{split}-{seed}")
    return [_problem(draw, NAMES[split], THINGS[split]) for _ in range(count)]


def _problem(draw: random.Random, names: list[str], things: list[str]) -> Problem:
    """One loss among one or two gains, in any order."""
    name, thing, start = draw.choice(names), draw.choice(things), draw.randint(10, 30)
    kinds = [True, *[False] * draw.choice([1, 1, 2])]
    draw.shuffle(kinds)
    steps = []
    for is_loss in kinds:
        amount = draw.randint(2, 9)
        event = draw.choice(LOSSES if is_loss else GAINS).format(name=name, things=thing, b=amount)
        steps.append(Step(event, amount, is_loss))
    events = ". ".join(step.event for step in steps)
    question = f"{name} has {start} {thing}. {events}. How many {thing} does {name} have now?"
    return Problem(
        f"Question: {question}\nAnswer:",
        right=_solve(start, steps, slips=False),
        wrong=_solve(start, steps, slips=True),
    )


def _solve(start: int, steps: list[Step], slips: bool) -> Solution:
    """Writes the solution out, step by step."""
    have, text, slip = start, "", None
    for step in steps:
        subtracts = step.is_loss and not slips
        result = have - step.amount if subtracts else have + step.amount
        text += f" {step.event}: {have}"
        if step.is_loss and slips:
            slip = (len(text), len(text) + 2)
        text += f" {'-' if subtracts else '+'} {step.amount} = {result}."
        have = result
    return Solution(f"{text} The answer is {have}.", have, slip)
