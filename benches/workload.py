"""What the benchmarks score: trajectories of given lengths, half of them response."""

import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fidelity"))

LENGTHS = (64, 512, 2048)


def trajectories(vocabulary: int, length: int, count: int = 1, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    """Prompts and responses of ordinary tokens, half of each trajectory in the response."""
    draw = random.Random(f"{seed}-{length}")
    ids = [[draw.randrange(100, vocabulary - 100) for _ in range(length)] for _ in range(count)]
    return [(row[: length // 2], row[length // 2 :]) for row in ids]


def solved_problems(tokenizer, length: int) -> tuple[list[int], list[int]]:
    """A prompt and a response of solved problems, half each: text, for where the numbers are compared too."""
    from problems import problems

    text = "\n\n".join(problem.prompt + problem.wrong.text for problem in problems("test", length // 40 + 2))
    ids = tokenizer(text)["input_ids"][:length]
    assert len(ids) == length, "too few problems for the length"
    return ids[: length // 2], ids[length // 2 :]


def median(values: list[float]) -> float:
    return statistics.median(values)
