"""The reference of training against TRL, against itself without padding, and against finite differences."""

import copy

import make_models
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from training_batches import preference_rows, sft_rows
from training_reference import Learner, Responses, decays, preference
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer
from trl import DPOConfig, DPOTrainer

LOSSES = [
    {"loss": "dpo"},
    {"loss": "dpo", "reduction": "position"},
    {"loss": "dpo", "label_smoothing": 0.2},
    {"loss": "rpo", "rpo_alpha": 0.7},
    {"loss": "tdpo", "tdpo_alpha": 0.4},
    {"loss": "cdpo"},
    {"loss": "cdpo", "reduction": "position"},
    {"loss": "token_weighted"},
    {"loss": "token_weighted", "reduction": "position"},
]
TRL_METRICS = [f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")]
TRL_METRICS += ["logps/chosen", "logps/rejected"]


def trl_trainer(name: str, folder, rows: list[dict], **settings) -> DPOTrainer:
    """TRL's trainer of the adapter `all-linear` over one of the tiny models, with the base as its reference."""
    load = lambda: AutoModelForCausalLM.from_pretrained(make_models.model(name), dtype=torch.float32)
    policy = PeftModel.from_pretrained(load(), make_models.adapter("all-linear", name), is_trainable=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(make_models.model(name))
    plain = {"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "report_to": [], "disable_tqdm": True}
    trainer = DPOTrainer(
        policy,
        ref_model=load(),
        args=DPOConfig(output_dir=str(folder), save_strategy="no", max_length=None, **plain, **settings),
        train_dataset=Dataset.from_list([{"prompt": "7 + 5", "chosen": " = 12", "rejected": " = 13"}]),
        processing_class=tokenizer,
    )
    trainer.train_dataset = Dataset.from_list(trl_rows(rows))  # its own would be token ids made from text
    return trainer


def trl_rows(rows: list[dict]) -> list[dict]:
    return [{f"{part}_ids": row[f"{part}_token_ids"] for part in ("prompt", "chosen", "rejected")} for row in rows]


def trl_loss(trainer: DPOTrainer, rows: list[dict]) -> torch.Tensor:
    return trainer.compute_loss(trainer.model, trainer.data_collator(trl_rows(rows)))


def assert_same_gradients(trained, ours: dict[str, torch.Tensor]) -> None:
    theirs = {name.replace(".default.", "."): w.grad for name, w in trained.named_parameters() if w.grad is not None}
    assert theirs.keys() == ours.keys()
    for name, gradient in ours.items():
        assert (theirs[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("name", ["llama2", "qwen2"])
def test_dpo_is_trls(name, tmp_path):
    rows = preference_rows()
    trainer = trl_trainer(name, tmp_path, rows, beta=0.1)
    trainer.model.train()
    loss = trl_loss(trainer, rows)
    loss.backward()
    ours = Learner(make_models.model(name), make_models.adapter("all-linear", name))
    ours = ours.evaluate("preference", {"loss": "dpo", "beta": 0.1}, rows)
    assert loss.item() == pytest.approx(ours.loss, rel=1e-5)
    for metric in TRL_METRICS:
        # Theirs are differences of sums of some hundreds in f32.
        assert trainer._metrics["train"][metric] == [pytest.approx(ours.metrics[metric], rel=1e-5, abs=2e-5)], metric
    assert_same_gradients(trainer.model, ours.gradients)


def test_rpo_is_trls_pair_by_pair(tmp_path):
    """TRL's `sft` term is a mean over the batch's tokens; in batches of one pair it is the response's own mean."""
    rows, alpha = preference_rows(), 0.7
    settings = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, alpha]}
    trainer = trl_trainer("llama2", tmp_path, rows, beta=0.1, **settings)
    learner = Learner(make_models.model("llama2"), make_models.adapter("all-linear", "llama2"))
    config = {"loss": "rpo", "beta": 0.1, "rpo_alpha": alpha}
    loss = sum(trl_loss(trainer, [row]) for row in rows) / len(rows)
    loss.backward()
    ours = learner.evaluate("preference", config, rows)
    assert loss.item() == pytest.approx(ours.loss, rel=1e-5)
    assert_same_gradients(trainer.model, ours.gradients)
    # In a batch, the two differ by how the NLL is averaged and by nothing else.
    sizes = torch.tensor([len(row["chosen_token_ids"]) for row in rows], dtype=torch.float64)
    nll = torch.tensor([learner.evaluate("sft", {}, [as_sft(row)]).loss for row in rows])
    pooled = ours.loss - alpha * (nll.mean() - (nll * sizes).sum() / sizes.sum())
    assert trl_loss(trainer, rows).item() == pytest.approx(pooled.item(), rel=1e-5)


def as_sft(row: dict) -> dict:
    return {"prompt_token_ids": row["prompt_token_ids"], "response_token_ids": row["chosen_token_ids"]}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_steps_are_trls(schedule, tmp_path):
    """Ten steps of transformers' Trainer on the one batch: losses, norms before clipping, rates and the adapter."""
    rows = preference_rows()
    settings = {"learning_rate": 3e-3, "weight_decay": 0.5, "max_grad_norm": 0.5, "adam_beta2": 0.98, "adam_epsilon": 1e-4}
    settings |= {"lr_scheduler_type": schedule, "warmup_steps": 0 if schedule == "constant" else 3, "beta": 0.1}
    once_a_step = {"max_steps": 10, "per_device_train_batch_size": len(rows), "logging_steps": 1}
    trainer = trl_trainer("llama2", tmp_path, rows, **settings, **once_a_step)
    trainer.train()
    learner = Learner(make_models.model("llama2"), make_models.adapter("all-linear", "llama2"))
    steps = learner.train("preference", {"loss": "dpo"} | settings, rows, 10)
    logged = [line for line in trainer.state.log_history if "loss" in line]
    assert len(logged) == len(steps)
    for theirs, ours in zip(logged, steps):
        assert theirs["learning_rate"] == pytest.approx(ours.learning_rate, rel=1e-6)
        assert theirs["loss"] == pytest.approx(ours.loss, rel=1e-4)
        assert theirs["grad_norm"] == pytest.approx(ours.grad_norm, rel=1e-3)
    theirs = {name.replace(".default.", "."): w for name, w in trainer.model.named_parameters() if w.requires_grad}
    for name, ours in learner.parameters.items():
        assert (theirs[name] - ours).norm() <= 1e-4 * ours.norm(), name


@pytest.mark.parametrize("name", ["llama3", "qwen2", "qwen3"])
def test_what_decays_is_transformers_choice(name):
    model = AutoModelForCausalLM.from_pretrained(make_models.model(name))
    names = [parameter for parameter, _ in model.named_parameters()]
    theirs = set(Trainer.get_decay_parameter_names(None, model)) & set(names)  # a tied head is listed there too
    assert {parameter for parameter in names if decays(parameter)} == theirs


@pytest.mark.parametrize("name", ["llama2", "mistral"])
@pytest.mark.parametrize("config", LOSSES, ids=lambda config: "-".join(map(str, config.values())))
def test_padding_changes_nothing(name, config):
    """A batch is the mean over its pairs, each read alone; by position, the sum over them divided by the padded batch."""
    rows = preference_rows()
    learner = Learner(make_models.model(name), make_models.adapter("all-linear", name))
    together = learner.evaluate("preference", config, rows)
    alone = [learner.evaluate("preference", config, [row]) for row in rows]
    lengths = [max(len(row["chosen_token_ids"]), len(row["rejected_token_ids"])) for row in rows]
    if config.get("reduction") == "position":
        shares = [length / max(lengths) / len(rows) for length in lengths]
        ended = 1 - sum(shares)  # positions past both ends, each of which costs log 2
    else:
        shares, ended = [1 / len(rows)] * len(rows), 0.0
    expected = sum(share * one.loss for share, one in zip(shares, alone)) + ended * torch.log(torch.tensor(2.0)).item()
    assert together.loss == pytest.approx(expected, rel=1e-6)
    for name, gradient in together.gradients.items():
        apart = sum(share * one.gradients[name] for share, one in zip(shares, alone))
        assert (gradient - apart).norm() <= 1e-5 * gradient.norm(), name


def test_sft_is_cross_entropy():
    """transformers' own loss, with the prompts' labels left out."""
    rows, name = sft_rows(), "llama3"
    learner = Learner(make_models.model(name), make_models.adapter("all-linear", name), torch.float32)
    losses, counts = [], []
    for row in rows:
        prompt, response = row["prompt_token_ids"], row["response_token_ids"]
        labels = torch.tensor([[-100] * len(prompt) + response])
        losses.append(learner.model(input_ids=torch.tensor([prompt + response]), labels=labels).loss.item())
        counts.append(len(response))
    expected = sum(loss * count for loss, count in zip(losses, counts)) / sum(counts)
    assert learner.evaluate("sft", {}, rows).loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: "-".join(map(str, config.values())))
def test_gradients_of_the_losses(config):
    """Finite differences, token by token. TDPO's stopped divergence is held still."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda: torch.randn((2, 4, 6), generator=generator, dtype=torch.float64)
    policy, reference = -draw().exp(), -draw().exp()
    weights, divergence = draw().sigmoid(), draw().exp()
    lengths = torch.tensor([6, 3, 1, 5])

    def loss(policy: torch.Tensor, rejected_divergence: torch.Tensor) -> torch.Tensor:
        sides = (Responses(policy[i], reference[i], weights[i], lengths) for i in range(2))
        chosen, rejected = sides
        chosen.divergence, rejected.divergence = divergence[0], rejected_divergence
        return preference(config | {"beta": 0.3}, chosen, rejected)[0]

    assert torch.autograd.gradcheck(loss, (policy.requires_grad_(), divergence[1].clone().requires_grad_()))


def test_the_chosen_divergence_is_stopped():
    """It moves TDPO's loss and has no gradient."""
    values = torch.full((1, 3), -1.0, dtype=torch.float64)
    divergence = torch.ones_like(values, requires_grad=True)
    side = Responses(values, values, torch.ones_like(values), torch.tensor([3]), divergence)
    still = Responses(values, values, torch.ones_like(values), torch.tensor([3]), torch.zeros_like(values))
    loss = lambda chosen, rejected: preference({"loss": "tdpo", "tdpo_alpha": 0.5, "beta": 0.1}, chosen, rejected)[0]
    # A chosen divergence raises the margin, a rejected one lowers it, by alpha beta of their sum.
    expected = torch.nn.functional.softplus(torch.tensor([-0.15, 0.15]))
    assert loss(side, still).item() == pytest.approx(expected[0].item())
    assert loss(still, side).item() == pytest.approx(expected[1].item())
    assert torch.autograd.grad(loss(side, side), divergence)[0].unique().tolist() == [pytest.approx(0.5 * 0.1 / 2)]


@pytest.mark.parametrize("config", [{"loss": "cdpo"}, {"loss": "rpo"}, {"loss": "cdpo", "reduction": "position"}])
@pytest.mark.parametrize("adapter", ["all-linear", None])
def test_gradients_through_the_model(config, adapter):
    """A step along the gradient changes the loss by as much as its norm says."""
    name, rows = "qwen2", preference_rows()
    learner = Learner(make_models.model(name), adapter and make_models.adapter(adapter, name))
    evaluated = learner.evaluate("preference", config, rows)
    weights, gradients = learner.parameters, evaluated.gradients
    before, step = copy.deepcopy({n: w.data for n, w in weights.items()}), 1e-3
    losses = []
    for sign in (1, -1):
        for n, weight in weights.items():
            weight.data = before[n] + sign * step * gradients[n] / evaluated.grad_norm
        losses.append(learner.loss("preference", config, rows)[0].item())
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(evaluated.grad_norm, rel=2e-3)
