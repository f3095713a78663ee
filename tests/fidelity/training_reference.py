"""The independent reference of training: transformers, peft and torch's autograd, in float64.

Nothing here is shared with the trainer. Sequences are padded on the right and masked; the reference policy is the base
with its adapter off (in full training: the base as it was). What each loss means, with `w` a token's weight (1 if the row
gives none), `r = log pi(y) - log ref(y)` a response token's log-ratio, and sums over a response's tokens:

    sft             mean of -log pi over all response tokens of the batch, not response by response
    dpo             -log sigmoid(beta (sum r_chosen - sum r_rejected)), mean over pairs; with `label_smoothing` e,
                    1 - e times that and e times the same of the opposite sign
    rpo             dpo, and `rpo_alpha` times the mean over pairs of -sum log pi(chosen) / |chosen|, as in arXiv
                    2404.19733. TRL's `sft` term divides by the batch's tokens instead, so that a long response counts
                    more; the two agree where a batch has one pair.
    tdpo            -log sigmoid(beta (sum r_chosen - sum r_rejected) - alpha beta (K_rejected - sg(K_chosen))), mean over
                    pairs: TDPO2 of arXiv 2404.11999, as `tdpo_loss` with `if_tdpo2` in the authors' trainers.py
                    (github.com/Vance0124/Token-level-Direct-Preference-Optimization) has it. K is the sum over the
                    response's positions of KL(ref || pi), over the whole vocabulary; sg stops the gradient.
    cdpo            dpo with sum w r on the rejected side: equations (4) to (6) of arXiv 2411.19943, w = 1 - s_t as given.
                    The chosen side's weights are not read.
    token_weighted  dpo with sum w r on both sides

With `reduction: position`, cdpo, dpo and token_weighted take the log-sigmoid of beta (w r_chosen[t] - w r_rejected[t]) at
every position t, counted from the response's first token; past a response's end r is 0, and the mean is over all pairs
x positions of the batch's longest response, so that a position past both ends counts as log 2. (The published script
averages over the prompts' positions too, which are log 2 each: its gradient is the same but for a factor.)

The metrics have TRL's names. `rewards/*` are beta times the sums that the loss compares (weighted where it weights, by
whole responses also where it goes by position, and without the divergences of tdpo); `logps/*` are plain sums; all are
means over pairs.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, get_scheduler

BOTH_WEIGHTED = ("token_weighted",)
REJECTED_WEIGHTED = ("cdpo", "token_weighted")
BY_POSITION = ("cdpo", "dpo", "token_weighted")


@dataclass
class Responses:
    """The same side of every row, [rows, positions of the longest response of the batch], zero past the ends."""

    policy: torch.Tensor
    """log pi of each token."""
    reference: torch.Tensor
    weights: torch.Tensor
    lengths: torch.Tensor
    divergence: torch.Tensor | None = None
    """KL(ref || pi) at each position, for tdpo."""

    @property
    def ratios(self) -> torch.Tensor:
        return self.policy - self.reference

    def unweighted(self) -> "Responses":
        return Responses(self.policy, self.reference, torch.ones_like(self.weights), self.lengths, self.divergence)


def preference(config: dict, chosen: Responses, rejected: Responses) -> tuple[torch.Tensor, dict, torch.Tensor]:
    """The loss, the metrics, and the rewards of each pair, [chosen and rejected, pairs]."""
    kind, beta = config.get("loss", "cdpo"), config.get("beta", 0.1)
    chosen = chosen if kind in BOTH_WEIGHTED else chosen.unweighted()
    rejected = rejected if kind in REJECTED_WEIGHTED else rejected.unweighted()
    better, worse = chosen.weights * chosen.ratios, rejected.weights * rejected.ratios
    if config.get("reduction", "sequence") == "position":
        assert kind in BY_POSITION
        loss = -logsigmoid(beta * (better - worse)).mean()
    else:
        margins = beta * (better.sum(-1) - worse.sum(-1))
        if kind == "tdpo":
            margins = margins - config.get("tdpo_alpha", 0.5) * beta * (
                rejected.divergence.sum(-1) - chosen.divergence.sum(-1).detach()
            )
        smoothing = config.get("label_smoothing", 0.0) if kind == "dpo" else 0.0
        loss = -((1 - smoothing) * logsigmoid(margins) + smoothing * logsigmoid(-margins)).mean()
        if kind == "rpo":
            loss = loss - config.get("rpo_alpha", 1.0) * (chosen.policy.sum(-1) / chosen.lengths).mean()
    rewards = torch.stack([beta * better.sum(-1), beta * worse.sum(-1)]).detach()
    metrics = {
        "rewards/chosen": rewards[0].mean().item(),
        "rewards/rejected": rewards[1].mean().item(),
        "rewards/margins": (rewards[0] - rewards[1]).mean().item(),
        "rewards/accuracies": (rewards[0] > rewards[1]).double().mean().item(),
        "logps/chosen": chosen.policy.sum(-1).mean().item(),
        "logps/rejected": rejected.policy.sum(-1).mean().item(),
    }
    return loss, metrics, rewards


@dataclass
class Evaluated:
    """Loss, metrics by TRL's names, and gradients by the names of PEFT or Hugging Face, before clipping."""

    loss: float
    metrics: dict[str, float]
    gradients: dict[str, torch.Tensor]
    rewards: torch.Tensor | None

    @property
    def grad_norm(self) -> float:
        return torch.stack([g.double().norm() for g in self.gradients.values()]).norm().item()


@dataclass
class Step:
    loss: float
    grad_norm: float
    learning_rate: float


class Learner:
    """A base and what is trained of it: the adapter of a PEFT folder, or everything."""

    def __init__(self, base: Path, adapter: Path | None = None, dtype: torch.dtype = torch.float64):
        # Not "eager", which takes the softmax in f32, where a padding row without a key in its window becomes NaN.
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="sdpa")
        if adapter is None:
            self._frozen = copy.deepcopy(model).requires_grad_(False).eval()
            self.model = model
        else:
            self.model = PeftModel.from_pretrained(model, adapter, is_trainable=True).to(dtype)
            self._frozen = None
        self.model.eval()  # no dropout
        self._reference: dict[str, torch.Tensor] = {}

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by the names that files have: PEFT's leave out the adapter's own name."""
        trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        return {name.replace(".default.", "."): weight for name, weight in trained.items()}

    def evaluate(self, kind: str, config: dict, rows: list[dict]) -> Evaluated:
        self.model.zero_grad(set_to_none=True)
        loss, metrics, rewards = self.loss(kind, config, rows)
        loss.backward()
        gradients = {name: weight.grad.clone() for name, weight in self.parameters.items()}
        return Evaluated(loss.item(), metrics, gradients, rewards)

    def train(self, kind: str, config: dict, rows: list[dict], steps: int) -> list[Step]:
        """So many steps of AdamW on the one batch, as transformers' Trainer takes them: weight decay on matrices only."""
        decay, weights = config.get("weight_decay", 0.0), self.parameters
        groups = [
            {"params": [w for name, w in weights.items() if decays(name)], "weight_decay": decay},
            {"params": [w for name, w in weights.items() if not decays(name)], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config["learning_rate"],
            betas=(config.get("adam_beta1", 0.9), config.get("adam_beta2", 0.999)),
            eps=config.get("adam_epsilon", 1e-8),
        )
        schedule = get_scheduler(config.get("lr_scheduler_type", "cosine"), optimizer, config["warmup_steps"], steps)
        taken = []
        for _ in range(steps):
            evaluated = self.evaluate(kind, config, rows)
            taken.append(Step(evaluated.loss, evaluated.grad_norm, schedule.get_last_lr()[0]))
            if config.get("max_grad_norm", 1.0) > 0:
                torch.nn.utils.clip_grad_norm_(weights.values(), config.get("max_grad_norm", 1.0))
            optimizer.step()
            schedule.step()
        return taken

    def loss(self, kind: str, config: dict, rows: list[dict]) -> tuple[torch.Tensor, dict, torch.Tensor | None]:
        if kind == "sft":
            sequences = [(row["prompt_token_ids"], row["response_token_ids"]) for row in rows]
            distributions, tokens, mask = respond(self.model, sequences)
            return -picked(distributions, tokens, mask).sum() / mask.sum(), {}, None
        assert kind == "preference", kind
        order = [(row, side) for side in ("chosen", "rejected") for row in rows]
        sequences = [(row["prompt_token_ids"], row[f"{side}_token_ids"]) for row, side in order]
        distributions, tokens, mask = respond(self.model, sequences)
        frozen = self._reference_distributions(sequences)
        weights = torch.zeros_like(mask)
        for at, (row, side) in enumerate(order):
            length = len(row[f"{side}_token_ids"])
            given = row.get(f"{side}_weights", [1.0] * length)
            assert len(given) == length
            weights[at, :length] = torch.tensor(given)
        divergence = (frozen.exp() * (frozen - distributions)).sum(-1) * mask
        whole = (picked(distributions, tokens, mask), picked(frozen, tokens, mask), weights, mask.sum(-1), divergence)
        sides = [Responses(*half) for half in zip(*(tensor.chunk(2) for tensor in whole))]
        return preference(config, *sides)

    def _reference_distributions(self, sequences: list[tuple[list[int], list[int]]]) -> torch.Tensor:
        key = str(sequences)
        if key not in self._reference:
            with torch.no_grad():
                if self._frozen is not None:
                    self._reference[key] = respond(self._frozen, sequences)[0]
                else:
                    with self.model.disable_adapter():
                        self._reference[key] = respond(self.model, sequences)[0]
        return self._reference[key]


def decays(name: str) -> bool:
    """Whether weight decay applies, as transformers' Trainer has it: not to biases and norms."""
    return not name.endswith((".bias", "norm.weight"))


def respond(model: Callable, sequences: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, ...]:
    """One padded forward pass over prompts and responses.

    Returns log distributions over the vocabulary, the tokens and a mask, each [sequences, positions of the longest
    response, ...], counted from each response's first token.
    """
    longest = max(len(prompt) + len(response) for prompt, response in sequences)
    ids, attention = (torch.zeros((len(sequences), longest), dtype=torch.long) for _ in range(2))
    positions = max(len(response) for _, response in sequences)
    rows = torch.zeros((len(sequences), positions), dtype=torch.long)
    tokens = torch.zeros_like(rows)
    mask = torch.zeros_like(rows, dtype=torch.float64)
    for at, (prompt, response) in enumerate(sequences):
        whole = torch.tensor(prompt + response)
        ids[at, : len(whole)], attention[at, : len(whole)] = whole, 1
        predicting = torch.arange(len(prompt) - 1, len(whole) - 1)
        rows[at, : len(response)], tokens[at, : len(response)] = predicting, whole[len(prompt) :]
        mask[at, : len(response)] = 1
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits.double()
    logits = torch.gather(logits, 1, rows[..., None].expand(-1, -1, logits.shape[-1]))
    return logits.log_softmax(-1), tokens, mask


def picked(distributions: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log probabilities of the tokens themselves, zero where the mask is."""
    return torch.gather(distributions, -1, tokens[..., None]).squeeze(-1) * mask
