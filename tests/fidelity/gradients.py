"""Runs `linchpin gradients` on one batch: what the trainer computes, for other implementations to be held against."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from server import binary

CPU = ("--device", "cpu", "--dtype", "f32")


def method(adapter: Path | None) -> dict:
    """The part of a config that says what is trained: what a PEFT folder has, or everything."""
    if adapter is None:
        return {"full": True}
    stored = json.loads((adapter / "adapter_config.json").read_text())
    lora = {name: stored[name] for name in ("r", "lora_alpha", "target_modules")}
    return {"lora": lora | {"lora_dropout": 0.0}}


def run(
    model: Path, kind: str, config: dict, rows: list[dict], *flags: str | Path, adapter: Path | None = None
) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The lines that it prints, and the tensors that it writes."""
    with tempfile.TemporaryDirectory(prefix="linchpin-") as folder:
        command = command_line(Path(folder), model, kind, config, rows, *(flags or CPU))
        command += ["--adapter", str(adapter)] if adapter else []
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600)
        assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
        return [json.loads(line) for line in done.stdout.splitlines()], load_file(Path(folder) / "out.safetensors")


def command_line(folder: Path, model: Path, kind: str, config: dict, rows: list[dict], *flags: str | Path) -> list[str]:
    """The command, with its config and its batch written to a folder, where out.safetensors will be."""
    (folder / "config.json").write_text(json.dumps({"kind": kind, "config": config}))
    (folder / "batch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ("--config", folder / "config.json", "--data", folder / "batch.jsonl", "--output", folder / "out.safetensors")
    return [str(part) for part in (binary(), "gradients", "--model", model, *files, *flags)]


def environment() -> dict[str, str]:
    """No setting but the flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LINCHPIN_")}
