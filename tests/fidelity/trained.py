"""The adapters of train_adapters.py, trained once. Run as a program, it prints where they are."""

from pathlib import Path

import torch
from cache import HERE, digest, once
from make_smollm2 import smollm2
from train_adapters import train_both


def trained_adapters() -> Path:
    """A folder with the PEFT folders `positive` and `negative`."""
    key = digest(*(HERE / name for name in ("train_adapters.py", "problems.py", "make_smollm2.py")))
    return once("adapters", key, lambda folder: train_both(smollm2()[0], folder))


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(trained_adapters())
