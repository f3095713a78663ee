"""A tiny model that really solves problems, for benchmarks: it knows the procedure and slips in the arithmetic.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE python benches/tiny_model.py OUT [--seed 0]

Writes arithmetic word problems of two to four steps, a word-level tokenizer of their language, and a Llama of 0.8M
parameters that is trained on them from scratch, on a CPU, until it solves somewhat more than half of the held-out ones
greedily. In OUT are then the model's folder (config.json, model.safetensors, generation_config.json, tokenizer.json,
tokenizer_config.json) and

  problems.jsonl  held-out problems: {"prompt", "answer", "solution"}
  wrong.jsonl     wrong samples at temperature 0.7 of problems that the model otherwise solves in at least 40% of its
                  samples, so that some token decided: {"prompt", "response", "answer"}
  report.json     loss, greedy accuracy, seconds, and how the samples went

The seed decides the problems and what is drawn; the weights also depend, in their last bits and thus in the end in the
accuracy, on the machine and its threads. OMP_WAIT_POLICY=PASSIVE matters where others use the machine too: waiting
threads that spin made a step five times slower there.
"""

import argparse
import itertools
import json
import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

logging.disable_progress_bar()

NAMES = "Ada Ana Ben Dan Eva Ian Ida Joe Kim Leo Mia Ned Pam Sam Tom Zoe".split()
THINGS = "apples beads books cards coins cups eggs keys maps nuts pens plums shells stamps stones toys".split()
GAINS = ["{b} gives {a} {n} {things}", "{a} finds {n} more {things}", "{a} buys {n} {things}", "{a} gets {n} {things}"]
LOSSES = ["{a} loses {n} {things}", "{a} sells {n} {things}", "{a} gives {n} {things} to {b}", "{a} uses {n} {things}"]
OPENERS = [" Then", " Now", " So", " After that"]
LARGEST = 299

SPECIALS = PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
PIECE = re.compile(r" ?[A-Za-z]+| [-+*=]|####|[0-9]|[ \n.?:]")
"""A word with the blank before it, a sign, one digit, a blank (before a number), a newline, a mark."""

CONTEXT = 512
HELD_OUT, JUDGED = 1000, 400
NEW_TOKENS = 100

BATCH, POOL, STEPS, WARMUP, PEAK = 32, 20, 4000, 100, 3e-3
EASY_STEPS = 1000
"""In the first ones problems take one or two steps, which is quicker to compute and to learn from."""
JUDGE_EVERY, WORTH_JUDGING = 100, 0.2
"""Steps between judgements, and the loss above which there is nothing to judge."""
ENOUGH, TOO_MUCH = 0.60, 0.75

TEMPERATURE, SAMPLES, SOLVED_SHARE = 0.7, 16, 0.4
WRONG_WANTED, WRONG_PER_PROBLEM, PROBLEMS_AT_ONCE = 240, 4, 40


@dataclass(frozen=True)
class Problem:
    prompt: str
    answer: str
    solution: str


def make_problem(draw: random.Random, fewest: int = 2, most: int = 4) -> Problem:
    """Things are had, got and lost in so many steps; some events take two of them."""
    (a, b), things = draw.sample(NAMES, 2), draw.choice(THINGS)
    events, sentences = [], []
    steps = draw.randint(fewest, most)

    def work_out(subject: str, left: int, sign: str, right: int) -> int:
        result = {"+": left + right, "-": left - right, "*": left * right}[sign]
        opener = draw.choice(OPENERS) if sentences else ""
        sentences.append(f"{opener} {subject} {left} {sign} {right} = {result} {things}.")
        return result

    def count_boxes(k: int, n: int) -> int:
        return work_out(f"{k} boxes have", k, "*", n)

    if draw.random() < 0.5:
        k, n = draw.randint(2, 9), draw.randint(3, 15)
        events.append(f"{a} has {k} boxes with {n} {things} each")
        have = count_boxes(k, n)
    else:
        have = draw.randint(11, 49)
        events.append(f"{a} has {have} {things}")
    together = steps - len(sentences) > 1 and draw.random() < 0.25
    while (left := steps - len(sentences) - 2 * together) > 0:
        kind = draw.choice(["gain", "loss", "boxes", "times"])
        if kind == "gain":
            n = draw.randint(11, 49)
            events.append(draw.choice(GAINS).format(a=a, b=b, n=n, things=things))
            have = work_out(f"{a} has", have, "+", n)
        elif kind == "loss" and have > 20:
            n = draw.randint(11, min(49, have - 1))
            events.append(draw.choice(LOSSES).format(a=a, b=b, n=n, things=things))
            have = work_out(f"{a} has", have, "-", n)
        elif kind == "boxes" and left > 1:
            k, n = draw.randint(2, 9), draw.randint(3, 15)
            events.append(f"{a} buys {k} boxes with {n} {things} each")
            have = work_out(f"{a} has", have, "+", count_boxes(k, n))
        elif kind == "times" and have < 70:
            k = draw.randint(2, 3)
            events.append(f"The next day {a} has {k} times as many")
            have = work_out(f"{a} has", have, "*", k)
    question = f"How many {things} does {a} have now?"
    if together:
        n = draw.randint(11, 49)
        events.append(f"{b} has {n} more {things} than {a}")
        have = work_out("together they have", have, "+", work_out(f"{b} has", have, "+", n))
        question = f"How many {things} do they have together?"
    if have > LARGEST:
        return make_problem(draw, fewest, most)
    return Problem(f"Question: {'. '.join(events)}. {question}\nAnswer:", str(have), f"{''.join(sentences)}\n#### {have}")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the problems' language. Text is cut where a token stands in it, so ids and text tell each other exactly."""
    draw = random.Random("vocabulary")
    texts = [problem.prompt + problem.solution for problem in (make_problem(draw) for _ in range(5000))]
    words = sorted({piece for text in texts for piece in PIECE.findall(text)})
    longest_first = sorted(words, key=len, reverse=True)
    cut = "|".join(re.sub(r"([.?*+])", r"\\\1", word) for word in longest_first)
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*SPECIALS, *words])}, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(cut), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.08,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, draw: random.Random, avoid: set[str]) -> Iterator[tuple]:
    """Ids and labels without end, padded on the right; problems of like length go together."""
    for step in itertools.count(0, POOL):
        length = (1, 2) if step < EASY_STEPS else (2, 4)
        drawn = (make_problem(draw, *length) for _ in range(POOL * BATCH))
        made = [problem for problem in drawn if problem.prompt not in avoid]
        prompts = tokenizer([problem.prompt for problem in made])["input_ids"]
        solutions = tokenizer([problem.solution for problem in made], add_special_tokens=False)["input_ids"]
        rows = sorted(zip(prompts, solutions, strict=True), key=lambda row: len(row[0]) + len(row[1]))
        groups = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        draw.shuffle(groups)
        for group in groups:
            width = max(len(prompt) + len(solution) for prompt, solution in group) + 1
            ids = torch.full((len(group), width), tokenizer.pad_token_id)
            labels = torch.full((len(group), width), -100)
            for row, (prompt, solution) in enumerate(group):
                text = torch.tensor([*prompt, *solution, tokenizer.eos_token_id])
                ids[row, : len(text)] = text
                labels[row, len(prompt) : len(text)] = text[len(prompt) :]
            yield ids, labels


def responses(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], **how) -> list[str | None]:
    """What the model answers, without EOS; None where it does not end, or where its text has other ids."""
    model.eval()
    rows = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        written = model.generate(**rows, max_new_tokens=NEW_TOKENS, **how)[:, rows["input_ids"].shape[1] :].tolist()
    texts = []
    for ids in written:
        ids = ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else []
        text = tokenizer.decode(ids)
        texts.append(text if ids and tokenizer(text, add_special_tokens=False)["input_ids"] == ids else None)
    return texts


def is_right(response: str | None, problem: Problem) -> bool:
    return response is not None and response.endswith(f"\n#### {problem.answer}")


def greedy_accuracy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, judged: list[Problem]) -> float:
    answers = responses(model, tokenizer, [problem.prompt for problem in judged], do_sample=False)
    return sum(map(is_right, answers, judged)) / len(judged)


def learning_rate(step: int) -> float:
    """A linear warm-up, then a cosine down to a hundredth."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return PEAK * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, held_out: list[Problem], seed: int) -> dict:
    """Trains until enough held-out problems are solved. Returns the figures."""
    began = time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    source = batches(tokenizer, random.Random(f"train-{seed}"), {problem.prompt for problem in held_out})
    mean, accuracy = math.nan, 0.0
    for step in range(STEPS):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        ids, labels = next(source)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % JUDGE_EVERY == 0:
            if mean < WORTH_JUDGING:
                accuracy = greedy_accuracy(model, tokenizer, held_out[:JUDGED])
            print(f"step {step + 1}: loss {mean:.4f}, solved {accuracy:.1%}, {time.monotonic() - began:.0f} s", flush=True)
            if accuracy >= ENOUGH:
                break
    if not ENOUGH <= accuracy <= TOO_MUCH:
        raise SystemExit(f"solved {accuracy:.1%}, which is not between {ENOUGH:.0%} and {TOO_MUCH:.0%}")
    seconds = round(time.monotonic() - began, 1)
    return {"steps": step + 1, "loss": round(mean, 5), "greedy_accuracy": accuracy, "seconds": seconds}


def has_slip(response: str) -> bool:
    """Whether an equation in it is false."""
    signs = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    equations = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", response)
    return any(signs[sign](int(left), int(right)) != int(result) for left, sign, right, result in equations)


def wrong_samples(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, held_out: list[Problem]) -> tuple[list, dict]:
    """Wrong samples of problems that are solved often enough, and how many there were."""
    began, rows, tried, solvable, wrong = time.monotonic(), [], 0, 0, 0
    how = {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "top_p": 1.0}
    while len(rows) < WRONG_WANTED and tried < len(held_out):
        problems = held_out[tried : tried + PROBLEMS_AT_ONCE]
        tried += len(problems)
        answers = responses(model, tokenizer, [problem.prompt for problem in problems for _ in range(SAMPLES)], **how)
        for at, problem in enumerate(problems):
            own = answers[at * SAMPLES : (at + 1) * SAMPLES]
            missed = [answer for answer in own if not is_right(answer, problem)]
            wrong += len(missed)
            if len(own) - len(missed) < SOLVED_SHARE * len(own):
                continue
            solvable += 1
            distinct = list(dict.fromkeys(answer for answer in missed if answer and "\n####" in answer))
            chosen = distinct[:WRONG_PER_PROBLEM]
            rows += [{"prompt": problem.prompt, "response": text, "answer": problem.answer} for text in chosen]
    counts = {"problems": tried, "samples": tried * SAMPLES, "wrong_share": round(wrong / (tried * SAMPLES), 4)}
    slips = sum(has_slip(row["response"]) for row in rows) / max(len(rows), 1)
    kept = {"solvable_problems": solvable, "kept": len(rows), "kept_with_a_false_equation": round(slips, 4)}
    return rows, counts | kept | {"seconds": round(time.monotonic() - began, 1)}


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    draw = random.Random(f"held-out-{arguments.seed}")
    made = {}
    while len(made) < HELD_OUT:
        problem = make_problem(draw)
        made.setdefault(problem.prompt, problem)
    held_out = list(made.values())
    tokenizer = make_tokenizer()
    for problem in held_out:
        ids = tokenizer(problem.prompt + problem.solution, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == problem.prompt + problem.solution, problem
    model = make_model(tokenizer)
    size = {"vocabulary": len(tokenizer), "parameters": sum(weight.numel() for weight in model.parameters())}
    print(size, flush=True)
    trained = train(model, tokenizer, held_out, arguments.seed)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    write_rows(arguments.out / "problems.jsonl", [asdict(problem) for problem in held_out])

    # From here on it is the saved model that is judged.
    model = AutoModelForCausalLM.from_pretrained(arguments.out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(arguments.out)
    torch.manual_seed(arguments.seed)
    rows, sampled = wrong_samples(model, tokenizer, held_out)
    write_rows(arguments.out / "wrong.jsonl", rows)
    report = {"seed": arguments.seed} | size | trained | {"sampling": {"temperature": TEMPERATURE} | sampled}
    (arguments.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    (answer,) = responses(model, tokenizer, [held_out[0].prompt], do_sample=False)
    print(f"{held_out[0].prompt}{answer}\n(it is {held_out[0].answer})")


if __name__ == "__main__":
    main()
