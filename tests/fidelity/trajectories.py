"""Texts that the comparisons score: plain, of odd characters, over the token boundary, and long."""

from problems import problems

PROBLEM = problems("test", 1, seed=1)[0]

ODD = (
    "Question: Das Café verkauft 3 Törtchen für je 4 €. Wie viel ist das?\nAnswer:",
    ' Drei × 4 = 12 €: naïve 日本語 and 🧮👩‍🔬\n\n\t"quoted" \\ <s> <0x41> \r\n  The answer is 12.  ',
)

TEXTS = {
    "plain": (PROBLEM.prompt, PROBLEM.wrong.text),
    "odd characters": ODD,
    "boundary inside a word": ("Question: How many pen", "cils remain? The answer is 15."),
    "boundary at a blank": ("Question: 7 + 5?\nAnswer: ", "12. The answer is 12."),
    "one token": ("Answer:", " The"),
}


def long_text(problems_shown: int, seed: int = 2) -> tuple[str, str]:
    """A trajectory of many solved problems, half of them in the prompt."""
    shown = problems("test", problems_shown, seed=seed)
    half = max(1, problems_shown // 2)
    prompt = "\n\n".join(p.prompt + p.right.text for p in shown[:half])
    response = "\n\n".join(p.prompt + p.wrong.text for p in shown[half:])
    return prompt, "\n\n" + response
