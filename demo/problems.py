"""Arithmetic word problems of two and three steps with solutions, right ones and ones with slips, from a seed.

A problem is a chain of changes to what somebody has, a comparison of two or three people, or groups of one size. A solution
writes each step as an equation, and the answer after `####`, as GSM8K does.

A slip is a wrong operation: what was lost is added, "twice as many" adds two, somebody is left out of the sum. Some words
invite slips more often than not, so a model that has read such solutions goes wrong there although it could go right:
mistakes that hang on one token, as those of models that have read what people write.
"""

import random
from collections.abc import Iterator

NAMES = ["Tom", "Ana", "Ben", "Mia", "Sam", "Eva", "Leo", "Zoe"]
ITEMS = ["apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps"]
PLACES = ["boxes", "bags", "trays", "jars"]
MORE = ["buys", "finds", "gets", "picks"]
LESS = ["sells", "loses", "gives away", "uses"]
TIMES = {2: "twice", 3: "3 times", 4: "4 times"}

# How often a cue's step is done wrong in the text that the demo's model reads.
SLIPS = {
    "loses": 0.65, "uses": 0.65, "gives away": 0.65, "fewer": 0.65, "sells": 0.2, "times": 0.2, "more": 0.1, "all": 0.1,
    "difference": 0.1,
}


class Slip(Exception):
    """A solution that cannot be written: a number below one or too large."""


class Solution:
    """Equations, written step by step; each step slips with its cue's chance if `slips` is a source of randomness."""

    def __init__(self, slips: random.Random | None):
        self.slips = slips
        self.lines: list[str] = []

    def slip(self, cue: str) -> bool:
        return self.slips is not None and self.slips.random() < SLIPS[cue]

    def step(self, have: int, sign: str, by: int, cue: str, who: str = "") -> int:
        if self.slip(cue):
            sign = {"+": "-", "-": "+", "*": "+"}[sign]
        result = {"+": have + by, "-": have - by, "*": have * by}[sign]
        if not 0 < result < 1000:
            raise Slip
        self.lines.append(f"{who}{have} {sign} {by} = {result}.")
        return result

    def total(self, amounts: list[int]) -> int:
        if len(amounts) > 2 and self.slip("all"):
            amounts = amounts[1:]
        total = sum(amounts)
        self.lines.append(" + ".join(map(str, amounts)) + f" = {total}.")
        return total

    def text(self, answer: int) -> str:
        return " ".join(self.lines) + f" #### {answer}"


class Problem:
    """A question, and how it is solved."""

    def __init__(self, rng: random.Random):
        kind = rng.choice([self.chain, self.chain, self.comparison, self.comparison, self.groups])
        self.text: list[str] = []
        self.plan: list[tuple] = []
        kind(rng, rng.choice([2, 3]))
        self.question = " ".join(self.text)
        self.answer = self.solve(Solution(None))

    def change(self, rng: random.Random, name: str, signs: list[str]) -> None:
        sign = rng.choice(signs)
        if sign == "+":
            by = rng.randint(2, 30)
            self.text.append(f"{name} {rng.choice(MORE)} {by} more.")
            self.plan.append(("+", by, "more"))
        elif sign == "-":
            by, verb = rng.randint(2, 20), rng.choice(LESS)
            self.text.append(f"{name} {verb} {by}.")
            self.plan.append(("-", by, verb))
        else:
            by = rng.choice([2, 3])
            self.text.append(f"{name} gets {TIMES[by]} as many as before.")
            self.plan.append(("*", by, "times"))

    def chain(self, rng: random.Random, steps: int) -> None:
        name, item = rng.choice(NAMES), rng.choice(ITEMS)
        self.first = rng.randint(5, 40)
        self.text.append(f"{name} has {self.first} {item}.")
        for number in range(steps):
            self.change(rng, name if number % 2 else f"Then {name}", ["+", "-", "*"])
        self.text.append(f"How many {item} does {name} have now?")
        self.solve = self.solve_chain

    def groups(self, rng: random.Random, steps: int) -> None:
        name, item = rng.choice(NAMES), rng.choice(ITEMS)
        self.first, each = rng.randint(2, 9), rng.randint(3, 9)
        self.text.append(f"{name} has {self.first} {rng.choice(PLACES)} with {each} {item} each.")
        self.plan.append(("*", each, "times"))
        for _ in range(1, steps):
            self.change(rng, name, ["+", "-"])
        self.text.append(f"How many {item} does {name} have now?")
        self.solve = self.solve_chain

    def comparison(self, rng: random.Random, steps: int) -> None:
        self.people, item = rng.sample(NAMES, 3), rng.choice(ITEMS)
        self.first = rng.randint(5, 40)
        self.text.append(f"{self.people[0]} has {self.first} {item}.")
        for number in range(1, steps):
            other, name = self.people[number - 1], self.people[number]
            sign = rng.choice("+-*")
            by = {"+": rng.randint(2, 20), "-": rng.randint(2, 20), "*": rng.choice([2, 3, 4])}[sign]
            words = {"+": f"{by} more than", "-": f"{by} fewer than", "*": f"{TIMES.get(by)} as many as"}[sign]
            self.text.append(f"{name} has {words} {other}.")
            self.plan.append((sign, by, {"+": "more", "-": "fewer", "*": "times"}[sign]))
        self.difference = steps == 2 and rng.random() < 0.25
        ask = f"How many more {item} does one have than the other?"
        self.text.append(ask if self.difference else f"How many {item} do they have in all?")
        self.solve = self.solve_comparison

    def solve_chain(self, solution: Solution) -> str:
        have = self.first
        for sign, by, cue in self.plan:
            have = solution.step(have, sign, by, cue)
        return solution.text(have)

    def solve_comparison(self, solution: Solution) -> str:
        amounts = [self.first]
        for name, (sign, by, cue) in zip(self.people[1:], self.plan):
            amounts.append(solution.step(amounts[-1], sign, by, cue, f"{name}: "))
        if not self.difference:
            return solution.text(solution.total(amounts))
        return solution.text(solution.step(max(amounts), "-", min(amounts), "difference"))


def different(seed: int, apart_from: set[str]) -> Iterator[Problem]:
    """Problems whose questions are neither in `apart_from` nor repeated; they are added to it."""
    rng = random.Random(seed)
    while True:
        try:
            problem = Problem(rng)
        except Slip:
            continue
        if problem.question not in apart_from:
            apart_from.add(problem.question)
            yield problem


def problems(seed: int, count: int, apart_from: set[str]) -> list[dict[str, str]]:
    """`count` problems with their right solutions."""
    found = zip(range(count), different(seed, apart_from))
    return [{"question": problem.question, "answer": problem.answer} for _, problem in found]


def reading(seed: int, count: int, apart_from: set[str]) -> list[dict[str, str]]:
    """`count` problems, each with one solution that may slip: what the demo's model is trained on from nothing."""
    slips = random.Random(seed + 1)
    rows: list[dict[str, str]] = []
    for problem in different(seed, apart_from):
        if len(rows) == count:
            return rows
        try:
            response = problem.solve(Solution(slips))
        except Slip:
            continue
        rows.append({"prompt": problem.question + "\n", "response": response})
    return rows
