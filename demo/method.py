"""How each model of the demo is made from the base, and what is measured of it."""

from server import Server

# A problem is put as it is, and the response ends by itself.
PUT = {"prompt_format": "plain", "max_tokens": 100}
SAMPLE = {**PUT, "n": 64, "temperature": 0.8, "top_p": 0.95}
# As published, but for the rates and the warm-up: the published ones are those of models ten thousand times as large, and a
# warm-up of 100 steps would outlast the run. At the published rate of 4e-5 all four preference losses do alike.
SFT = {"learning_rate": 1e-3, "warmup_steps": 20}
PREFERENCE = {"learning_rate": 1e-4}
BASELINES = {"DPO": "dpo", "RPO": "rpo", "TDPO": "tdpo"}


def pipeline(server: Server, name: str, seed: int, held_out: str | None) -> dict:
    """The published pipeline with cDPO."""
    config = {
        "dataset": "problems", "eval_dataset": held_out, "seed": seed, "sample": SAMPLE, "sft": SFT,
        "preference": PREFERENCE, "evaluate": PUT,
    }
    return server.job("pipeline", name, config)


def accuracy(server: Server, model: str | dict, held_out: str) -> float:
    """Greedy accuracy of a loaded model, or of a job's adapter."""
    job = server.job("evaluate", f"accuracy of {model}", {"dataset": held_out, "model": model, **PUT})
    return server.metric(job, "evaluate", "accuracy")


def artifact(job: dict, name: str) -> dict[str, str]:
    return {"job": job["id"], "artifact": name}


def accuracies(server: Server, made: dict, seed: int, held_out: str) -> dict[str, float]:
    """Accuracies of the base, of a pipeline's models, and of what the paper compares with, trained on the same pairs."""
    found = {
        "base": server.metric(made, "evaluate-before", "accuracy"),
        "SFT": accuracy(server, artifact(made, "positive"), held_out),
        "negative": accuracy(server, artifact(made, "negative"), held_out),
    }
    server.dataset(f"pairs-{seed}", server.rows(made, "contrast.jsonl"))
    for name, loss in BASELINES.items():
        config = {"dataset": f"pairs-{seed}", "loss": loss, "seed": seed, **PREFERENCE}
        trained = server.job("preference", f"{name}, seed {seed}", config)
        found[name] = accuracy(server, artifact(trained, "adapter"), held_out)
    return found | {"cDPO": server.metric(made, "evaluate-after", "accuracy")}
