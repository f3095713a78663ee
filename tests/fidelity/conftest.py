"""Fixtures of the fidelity suite, and the table of differences at its end."""

import pytest
import torch
from compare import Differences
from make_smollm2 import smollm2
from reference import Models
from server import Server, binary
from trained import trained_adapters

torch.set_num_threads(2)

_differences: dict[str, Differences] = {}


def pytest_sessionstart():
    try:
        binary()
    except SystemExit as missing:
        pytest.exit(str(missing), returncode=2)


@pytest.fixture
def record():
    """Notes a case's differences for the table: `record(case, differences)`."""

    def note(case: str, differences: Differences) -> None:
        _differences.setdefault(case, Differences()).merge(differences)

    return note


@pytest.fixture(scope="session")
def smollm2_folder():
    return smollm2()[0]


@pytest.fixture(scope="session")
def smollm2_gguf():
    return smollm2()[1]


@pytest.fixture(scope="session")
def trained():
    """The folder with the adapters `positive` and `negative` for SmolLM2."""
    return trained_adapters()


@pytest.fixture(scope="session")
def smollm2_reference(smollm2_folder, trained):
    return Models(smollm2_folder, trained / "positive", trained / "negative")


@pytest.fixture(scope="session")
def smollm2_server(smollm2_gguf, trained):
    """SmolLM2 as it comes, quantised, with the trained adapters."""
    with Server(
        smollm2_gguf, "--device", "cpu", "--positive", trained / "positive", "--negative", trained / "negative"
    ) as server:
        yield server


def pytest_terminal_summary(terminalreporter):
    if not _differences:
        return
    terminalreporter.section("largest differences from transformers + peft in f32")
    terminalreporter.write_line(
        f"{'case':34} {'tokens':>7} {'logprob':>9} {'s_t':>9} {'log s_t':>9} {'entropy':>9} {'lowest s_t':>11} {'near ties':>10}"
    )
    for case, seen in _differences.items():
        terminalreporter.write_line(
            f"{case:34} {seen.tokens:7} {seen.logprob:9.1e} {seen.score:9.1e} {seen.log_score:9.1e} {seen.entropy:9.1e}"
            f" {f'{seen.lowest_score:.1e}' if seen.lowest_score < 1 else '-':>11} {seen.near_ties:10}"
        )
