"""Arithmetic word problems of two and three steps with their solutions, from a seed.

A problem is a chain of changes to what somebody has, a comparison of two or three people, or groups of one size. The
solution writes each step as an equation, and the answer after `####`, as GSM8K does.
"""

import random

NAMES = ["Tom", "Ana", "Ben", "Mia", "Sam", "Eva", "Leo", "Zoe"]
ITEMS = ["apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps"]
PLACES = ["boxes", "bags", "trays", "jars"]
MORE = ["buys", "finds", "gets", "picks"]
LESS = ["sells", "loses", "gives away", "uses"]
TIMES = {2: "twice", 3: "3 times", 4: "4 times", 5: "5 times"}

Problem = dict[str, str]


def chain(rng: random.Random, steps: int) -> Problem | None:
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    have = rng.randint(5, 60)
    text, solution = [f"{name} has {have} {item}."], []
    for number in range(steps):
        who = name if number % 2 else "Then " + name
        kind = rng.choice(["more", "less", "times"])
        if kind == "more":
            amount = rng.randint(3, 60)
            text.append(f"{who} {rng.choice(MORE)} {amount} more.")
            solution.append(f"{have} + {amount} = {have + amount}.")
            have += amount
        elif kind == "less":
            if have < 6:
                return None
            amount = rng.randint(2, have - 1)
            text.append(f"{who} {rng.choice(LESS)} {amount}.")
            solution.append(f"{have} - {amount} = {have - amount}.")
            have -= amount
        else:
            factor = rng.choice([2, 3])
            text.append(f"{who} gets {TIMES[factor]} as many as before.")
            solution.append(f"{have} * {factor} = {have * factor}.")
            have *= factor
    text.append(f"How many {item} does {name} have now?")
    return problem(text, solution, have)


def comparison(rng: random.Random, steps: int) -> Problem | None:
    people, item = rng.sample(NAMES, 3), rng.choice(ITEMS)
    first = rng.randint(5, 50)
    amounts = [first]
    text, solution = [f"{people[0]} has {first} {item}."], []
    for number in range(1, steps):
        before = amounts[-1]
        kind = rng.choice(["more", "fewer", "times"])
        other, name = people[number - 1], people[number]
        if kind == "more":
            by = rng.randint(2, 40)
            text.append(f"{name} has {by} more than {other}.")
            solution.append(f"{name}: {before} + {by} = {before + by}.")
            amounts.append(before + by)
        elif kind == "fewer":
            if before < 5:
                return None
            by = rng.randint(2, before - 1)
            text.append(f"{name} has {by} fewer than {other}.")
            solution.append(f"{name}: {before} - {by} = {before - by}.")
            amounts.append(before - by)
        else:
            factor = rng.choice([2, 3, 4])
            text.append(f"{name} has {TIMES[factor]} as many as {other}.")
            solution.append(f"{name}: {before} * {factor} = {before * factor}.")
            amounts.append(before * factor)
    if steps == 2 and rng.random() < 0.4 and amounts[0] != amounts[1]:
        high, low = max(amounts), min(amounts)
        text.append(f"How many more {item} does one have than the other?")
        solution.append(f"{high} - {low} = {high - low}.")
        return problem(text, solution, high - low)
    total = sum(amounts)
    text.append(f"How many {item} do they have in all?")
    solution.append(" + ".join(str(amount) for amount in amounts) + f" = {total}.")
    return problem(text, solution, total)


def groups(rng: random.Random, steps: int) -> Problem | None:
    name, item, place = rng.choice(NAMES), rng.choice(ITEMS), rng.choice(PLACES)
    count, each = rng.randint(2, 9), rng.randint(3, 12)
    have = count * each
    text, solution = [f"{name} has {count} {place} with {each} {item} each."], [f"{count} * {each} = {have}."]
    for _ in range(1, steps):
        if rng.random() < 0.5:
            amount = rng.randint(2, 50)
            text.append(f"{name} {rng.choice(MORE)} {amount} more.")
            solution.append(f"{have} + {amount} = {have + amount}.")
            have += amount
        else:
            if have < 4:
                return None
            amount = rng.randint(2, have - 1)
            text.append(f"{name} {rng.choice(LESS)} {amount}.")
            solution.append(f"{have} - {amount} = {have - amount}.")
            have -= amount
    text.append(f"How many {item} does {name} have now?")
    return problem(text, solution, have)


def problem(text: list[str], solution: list[str], answer: int) -> Problem | None:
    if not 0 < answer < 1000:
        return None
    return {"question": " ".join(text), "answer": " ".join(solution) + f" #### {answer}"}


def problems(seed: int, count: int, apart_from: set[str] = frozenset()) -> list[Problem]:
    """`count` different problems, none of whose questions is in `apart_from`."""
    rng = random.Random(seed)
    found: list[Problem] = []
    seen = set(apart_from)
    while len(found) < count:
        made = rng.choice([chain, chain, comparison, comparison, groups])(rng, rng.choice([2, 3]))
        if made and made["question"] not in seen:
            seen.add(made["question"])
            found.append(made)
    return found
