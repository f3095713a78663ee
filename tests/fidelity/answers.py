"""Responses with a reference answer, drawn from a seed: every kind of answer, right and wrong, in every style.

Whether a response is right is known by construction, not by asking a verifier: a right answer is the reference in other
clothes, and a wrong one is another value.
"""

import random
from dataclasses import dataclass
from fractions import Fraction
from math import comb, gcd

UNITS = ["dollars", "eggs", "cm", "miles per hour", "square feet", "days"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@dataclass(frozen=True)
class Case:
    """A response to grade."""

    kind: str
    style: str
    reference: str
    """In LaTeX without delimiters."""
    answer: str
    response: str
    right: bool


@dataclass(frozen=True)
class Answers:
    """A reference with right and wrong answers to it, in LaTeX without delimiters."""

    kind: str
    reference: str
    right: list[str]
    wrong: list[str]


def frac(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def integers(draw: random.Random) -> Answers:
    n = draw.choice([draw.randint(2, 99), draw.randint(100, 99999), draw.randint(10**6, 10**9)])
    unit = draw.choice(UNITS)
    right = [str(n), f"{n:,}", f"{n}.00", f"\\${n:,}", f"{n}\\text{{ {unit}}}", f"{n:,}".replace(",", "{,}"), f"x = {n}"]
    return Answers("integer", str(n), right, [str(n + 1), str(-n), f"{n}0", f"{n}.5", f"x = {n + 2}", f"\\frac{{{n}}}{{2}}"])


def decimals(draw: random.Random) -> Answers:
    cents = draw.randint(101, 99999)
    value = Fraction(cents, 100)
    text = f"{cents / 100:.2f}"
    right = [text, f"\\${text}", f"{text}0", f"\\frac{{{cents}}}{{100}}"]
    return Answers("decimal", text, right, [f"{(cents + 1) / 100:.2f}", str(cents), frac(value + 1), f"-{text}"])


def fractions(draw: random.Random) -> Answers:
    below = draw.randint(3, 19)
    above = draw.choice([n for n in range(1, 60) if gcd(n, below) == 1 and n % below])
    value = Fraction(above, below)
    right = [frac(value), f"{above}/{below}", f"\\dfrac{{{above}}}{{{below}}}", f"\\frac{{{2 * above}}}{{{2 * below}}}"]
    whole, rest = divmod(above, below)
    if whole:
        right.append(f"{whole}\\frac{{{rest}}}{{{below}}}")
    if below in (4, 5, 8, 10, 16):
        right.append(f"{above / below:g}")
    right.append(f"{above / below:.8f}")
    wrong = [frac(1 / value), frac(value + 1), f"{above / below + 0.01:.3f}", f"-{above}/{below}", str(above)]
    return Answers("fraction", frac(value), right, wrong)


def percents(draw: random.Random) -> Answers:
    n = draw.randint(2, 99)
    right = [f"{n}\\%", f"{n}", f"{n / 100:g}", frac(Fraction(n, 100))]
    return Answers("percent", f"{n}\\%", right, [f"{n + 1}\\%", str(n + 3), f"{n / 1000:g}", f"{n * 10}\\%"])


def scientific(draw: random.Random) -> Answers:
    digits, exponent = draw.randint(11, 99), draw.randint(3, 9)
    reference = f"{digits / 10} \\times 10^{{{exponent}}}"
    right = [f"{digits / 10}\\cdot 10^{{{exponent}}}", str(digits * 10 ** (exponent - 1)), f"{digits} \\times 10^{{{exponent - 1}}}"]
    return Answers("scientific", reference, right, [f"{digits / 10} \\times 10^{{{exponent + 1}}}", str(digits * 10**exponent)])


def roots(draw: random.Random) -> Answers:
    inside, outside = draw.choice([2, 3, 5, 6, 7, 10]), draw.randint(2, 9)
    reference = f"{outside}\\sqrt{{{inside}}}"
    right = [reference, f"\\sqrt{{{inside * outside**2}}}", f"\\sqrt{{{inside}}} \\cdot {outside}"]
    right += [f"\\frac{{{outside * inside}}}{{\\sqrt{{{inside}}}}}", f"{outside} \\sqrt {inside}" if inside < 10 else reference]
    wrong = [f"{outside + 1}\\sqrt{{{inside}}}", str(outside), f"\\sqrt{{{inside * outside}}}", f"{outside}\\sqrt{{{inside + 1}}}"]
    return Answers("root", reference, right, wrong)


def surds(draw: random.Random) -> Answers:
    a, b = draw.randint(1, 9), draw.choice([2, 3, 5, 7])
    reference = f"{a}+\\sqrt{{{b}}}"
    right = [f"\\sqrt{{{b}}}+{a}", f"\\frac{{{2 * a}+2\\sqrt{{{b}}}}}{{2}}", f"{a} - (-\\sqrt{{{b}}})"]
    return Answers("surd", reference, right, [f"{a}-\\sqrt{{{b}}}", f"{a + 1}+\\sqrt{{{b}}}", f"{a}\\sqrt{{{b}}}"])


def pies(draw: random.Random) -> Answers:
    n, below = draw.randint(2, 30), draw.choice([1, 2, 3, 4, 6])
    value = Fraction(n, below)
    if value.denominator == 1:
        reference, right = f"{value}\\pi", [f"\\pi \\cdot {value}", f"\\frac{{{2 * value}\\pi}}{{2}}"]
    else:
        reference = f"\\frac{{{value.numerator}\\pi}}{{{value.denominator}}}"
        right = [f"\\frac{{{value.numerator}}}{{{value.denominator}}}\\pi", f"{value.numerator}\\pi/{value.denominator}"]
    return Answers("pi", reference, right, [f"{n + 40}\\pi", str(value.numerator), f"{float(value) * 3.14:.2f}", f"{reference}^2"])


def polynomials(draw: random.Random) -> Answers:
    a, b = draw.randint(1, 9), draw.randint(1, 9)
    reference = f"x^2+{a + b}x+{a * b}"
    right = [f"(x+{a})(x+{b})", f"{a * b}+{a + b}x+x^2", f"x(x+{a + b})+{a * b}", f"x^{{2}} + {a + b} x + {a * b}"]
    return Answers("polynomial", reference, right, [f"(x-{a})(x+{b})", f"x^2+{a + b}x-{a * b}", f"x^2+{a + b + 1}x+{a * b}", "x^2"])


def several_variables(draw: random.Random) -> Answers:
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    reference = f"{a}x^2y-{b}xy"
    right = [f"xy({a}x-{b})", f"-{b}xy+{a}x^2y", f"{a}yx^2-{b}yx"]
    return Answers("several variables", reference, right, [f"{a}x^2y+{b}xy", f"{a}xy-{b}xy", f"{a}x^2z-{b}xz"])


def quotients(draw: random.Random) -> Answers:
    a = draw.randint(2, 9)
    reference = f"\\frac{{x+{a}}}{{x-{a}}}"
    right = [f"\\frac{{(x+{a})^2}}{{x^2-{a * a}}}", f"(x+{a})/(x-{a})", f"1+\\frac{{{2 * a}}}{{x-{a}}}"]
    return Answers("rational function", reference, right, [f"\\frac{{x-{a}}}{{x+{a}}}", f"x+{a}", f"\\frac{{x+{a + 1}}}{{x-{a}}}"])


def points(draw: random.Random) -> Answers:
    a, b = draw.randint(-9, 9), Fraction(draw.randint(1, 9), 2)
    a += a >= b
    second = frac(b) if b.denominator > 1 else str(b)
    reference = f"({a}, {second})"
    right = [f"\\left({a},{second}\\right)", f"({a}, {float(b):g})", f"( {a} , {second} )"]
    return Answers("point", reference, right, [f"({second}, {a})", f"({a}, {float(b) + 1:g})", f"({a}, {second}, 0)", second])


def sets(draw: random.Random) -> Answers:
    a, b, c = draw.sample(range(-20, 40), 3)
    reference = f"\\{{{a}, {b}, {c}\\}}"
    right = [f"\\{{{c},{a},{b}\\}}", f"{b}, {c}, {a}", f"\\left\\{{{a}, {b}, {c}\\right\\}}", f"{a}, {b} \\text{{ and }} {c}"]
    return Answers("set", reference, right, [f"\\{{{a}, {b}\\}}", f"\\{{{a},{b},{c + 100}\\}}", f"{a}", f"\\{{{a},{b},{c},100\\}}"])


def lists(draw: random.Random) -> Answers:
    a, b = draw.sample(range(2, 40), 2)
    right = [f"{a}, {b}", f"{b}, {a}", f"x = {a}, x = {b}", f"\\{{{a}, {b}\\}}", f"{a} \\text{{ or }} {b}"]
    return Answers("list", f"{a},{b}", right, [f"{a}", f"{a}, {b + 40}", f"{a}, {b}, 0", f"{a + b}"])


def intervals(draw: random.Random) -> Answers:
    low = draw.randint(-9, 5)
    high = low + draw.randint(1, 9)
    open_, close = draw.choice("(["), draw.choice(")]")
    reference = f"{open_}{low}, {high}{close}"
    right = [f"\\left{open_}{low},{high}\\right{close}", f"{open_}{low}, \\frac{{{2 * high}}}{{2}}{close}"]
    other = {"(": "[", "[": "("}[open_]
    return Answers("interval", reference, right, [f"{other}{low}, {high}{close}", f"{open_}{low}, {high + 1}{close}", str(high)])


def unions(draw: random.Random) -> Answers:
    a, b = draw.randint(-9, 0), draw.randint(1, 9)
    reference = f"(-\\infty, {a}) \\cup ({b}, \\infty)"
    right = [f"({b},\\infty)\\cup(-\\infty,{a})", f"\\left(-\\infty, {a}\\right) \\cup \\left({b}, \\infty\\right)"]
    return Answers("union", reference, right, [f"(-\\infty, {a}] \\cup ({b}, \\infty)", f"({a}, {b})", f"(-\\infty, {b}) \\cup ({b}, \\infty)"])


def inequalities(draw: random.Random) -> Answers:
    a = draw.randint(2, 20)
    right = [f"x > {a}", f"{a} < x", f"({a}, \\infty)", f"2x > {2 * a}"]
    return Answers("inequality", f"x > {a}", right, [f"x < {a}", f"x \\ge {a}", f"x > {a + 1}", f"[{a}, \\infty)"])


def equations(draw: random.Random) -> Answers:
    m, c = draw.randint(2, 9), draw.randint(1, 9)
    right = [f"y={m}x+{c}", f"{m}x+{c}", f"y - {m}x = {c}", f"{m}x - y + {c} = 0", f"y = {c} + {m}x"]
    return Answers("equation", f"y = {m}x + {c}", right, [f"y = {m}x - {c}", f"y = {m + 1}x + {c}", f"{c}", f"x = {m}y + {c}"])


def matrices(draw: random.Random) -> Answers:
    a, b, c, d = (draw.randint(-9, 9) for _ in range(4))

    def matrix(kind, *cells):
        return f"\\begin{{{kind}}} {cells[0]} & {cells[1]} \\\\ {cells[2]} & {cells[3]} \\end{{{kind}}}"

    right = [matrix("bmatrix", a, b, c, d), matrix("pmatrix", a, b, c, f"\\frac{{{2 * d}}}{{2}}")]
    wrong = [matrix("pmatrix", a, b, c, d + 1), matrix("pmatrix", a + 1, b, c, d), matrix("pmatrix", a, b, c + 20, d)]
    return Answers("matrix", matrix("pmatrix", a, b, c, d), right, wrong)


def complexes(draw: random.Random) -> Answers:
    a, b = draw.randint(1, 9), draw.randint(2, 9)
    right = [f"{a}+{b}i", f"{b}i+{a}", f"\\frac{{{2 * a}+{2 * b}i}}{{2}}"]
    return Answers("complex", f"{a}+{b}i", right, [f"{a}-{b}i", f"{b + 1}+{a}i", f"{a + b}", f"{a}+{b}"])


def choices(draw: random.Random) -> Answers:
    right, wrong = draw.sample("ABCDE", 2)
    return Answers("choice", right, [right, f"\\text{{({right})}}", f"\\text{{{right}}}"], [wrong, f"\\text{{({wrong})}}"])


def texts(draw: random.Random) -> Answers:
    right, wrong = draw.sample(DAYS, 2)
    return Answers("text", f"\\text{{{right}}}", [f"\\text{{{right}}}", f"\\text{{{right.lower()}}}", right], [f"\\text{{{wrong}}}", wrong])


def bases(draw: random.Random) -> Answers:
    base = draw.randint(5, 9)
    digits = "".join(str(draw.randint(1, base - 1)) for _ in range(4))
    right = [f"{digits}_{base}", f"{digits}_{{{base}}}", digits]
    return Answers("base", f"{digits}_{base}", right, [f"{digits[::-1]}1_{base}", str(int(digits, base))])


def combinatorics(draw: random.Random) -> Answers:
    n = draw.randint(5, 12)
    k = draw.randint(2, n - 2)
    right = [f"\\binom{{{n}}}{{{k}}}", str(comb(n, k)), f"\\frac{{{n}!}}{{{k}!{n - k}!}}"]
    return Answers("combinatorics", str(comb(n, k)), right, [str(comb(n, k) + 1), f"\\binom{{{n + 1}}}{{{k}}}", f"{n}!"])


def both_signs(draw: random.Random) -> Answers:
    a = draw.randint(2, 20)
    right = [f"\\pm {a}", f"{a}, -{a}", f"x = \\pm {a}", f"-{a}, {a}"]
    return Answers("plus-minus", f"\\pm {a}", right, [f"{a}", f"\\pm {a + 1}", f"-{a}"])


def functions(draw: random.Random) -> Answers:
    a = draw.randint(2, 9)
    reference, right, wrong = draw.choice(
        [
            (f"\\ln {a}", [f"\\ln({a})", f"\\frac{{1}}{{2}}\\ln {a * a}"], [f"\\ln {a + 1}", str(a)]),
            (f"\\sin^2 ({a}x)", [f"1-\\cos^2({a}x)", f"\\sin({a}x)^2"], [f"\\cos^2 ({a}x)", f"\\sin({a}x)"]),
            (f"e^{{{a}x}}", [f"(e^x)^{{{a}}}", f"e^{{x}} e^{{{a - 1}x}}"], [f"e^{{{a + 1}x}}", f"{a}e^x"]),
            (f"2^{{{a}n}}", [f"2^{{{a - 1}n}} \\cdot 2^n"], [f"2^{{n+{a + 1}}}", f"{a + 1}^{{2n}}"]),
        ]
    )
    return Answers("function", reference, right, wrong)


def degrees(draw: random.Random) -> Answers:
    a = draw.randint(5, 175)
    return Answers("degrees", f"{a}^\\circ", [f"{a}^\\circ", f"{a}^{{\\circ}}", f"{a}", f"{a}\\text{{ degrees}}"], [f"{a + 1}^\\circ", str(180 - a + 200)])


KINDS = [
    integers, decimals, fractions, percents, scientific, roots, surds, pies, polynomials, several_variables, quotients,
    points, sets, lists, intervals, unions, inequalities, equations, matrices, complexes, choices, texts, bases,
    combinatorics, both_signs, functions, degrees,
]  # fmt: skip
PLAIN = {"integer", "decimal"}
"""Kinds that are also written without LaTeX."""

STYLES = {
    "boxed": "Step by step: we take 3 and 4 and simplify. Therefore the result is $\\boxed{{{answer}}}$.",
    "boxed in a display": "We get\n\\[\n\\boxed{{{answer}}}\n\\]",
    "sentence": "First we note that 2 + 2 = 4. The answer is ${answer}$.",
    "sentence in parentheses": "We simplify. The answer is \\({answer}\\).",
    "Minerva": "We add 5.\nFinal Answer: The final answer is ${answer}$. I hope it is correct.",
    "heading": "Some work with 7 steps.\n\n**Final Answer:** ${answer}$",
    "colon": "We compute with 12 of them.\nAnswer: ${answer}$",
    "unmarked": "After 3 steps we find ${answer}$.",
}
PLAIN_STYLES = {
    "GSM8K": "He has 3 * 4 = <<3*4=12>>12 more.\n#### {answer}",
    "plain sentence": "There are 3 of them left. The answer is {answer}.",
    "A:": "There are 3 of them left.\nA: {answer}",
    "bold": "There are 3 of them left. The answer is **{answer}**.",
}
RUN_ON = "\n\nQuestion: A train goes 60 miles. How far is that?\nAnswer: ${other}$"


def cases(count: int, seed: int) -> list[Case]:
    """`count` cases, the kinds in turn."""
    draw = random.Random(f"answers-{seed}")
    made = []
    for index in range(count):
        answers = KINDS[index % len(KINDS)](draw)
        right = draw.random() < 0.5
        answer = draw.choice(answers.right if right else answers.wrong)
        styles = STYLES
        if answers.kind in PLAIN and "\\" not in answer and "{" not in answer and draw.random() < 0.6:
            styles = PLAIN_STYLES
        style = draw.choice(list(styles))
        response = styles[style].format(answer=answer)
        if draw.random() < 0.03:
            response, style = response + RUN_ON.format(other="12345"), "runs on"
        made.append(Case(answers.kind, style, answers.reference, answer, response, right))
    return made


def words(count: int, seed: int) -> list[Case]:
    """Numbers that are spelt out, which Math-Verify does not read at all."""
    draw = random.Random(f"words-{seed}")
    made = []
    for _ in range(count):
        number, other = draw.sample(range(2, 13), 2)
        right = draw.random() < 0.5
        answer = WORDS[(number if right else other) - 2]
        made.append(Case("words", "plain sentence", str(number), answer, f"So the answer is {answer}.", right))
    return made
