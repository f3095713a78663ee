"""Where the suite keeps what it makes once: folders named after a hash of what made them."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linchpin"


def digest(*parts: str | Path) -> str:
    """A short hash of files' contents and of texts."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def once(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `kind/key` of the cache, made by `make` if it is not there. A half-made folder is never left."""
    target = CACHE / kind / key
    if target.is_dir():
        return target
    part = target.with_name(f"{key}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        make(part)
        part.rename(target)
    except OSError:
        if not target.is_dir():  # another run was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def fetched_model(name: str) -> Path:
    """The GGUF file of a small published model, fetched by tests/models."""
    fetch = [sys.executable, str(HERE.parent / "models"), name]
    return Path(subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip())
