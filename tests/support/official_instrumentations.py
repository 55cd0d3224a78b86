"""OpenTelemetry's own instrumentations in a folder of their own, to put on a process's path."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).with_suffix(".txt")


def folder() -> Path:
    """The folder; installed once into the cache, which is outside the checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-llm-cost"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(PINNED.read_bytes() + version.encode()).hexdigest()[:16]
    target = cache / f"official-instrumentations-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "official-instrumentations.lock").open("w") as lock:
        # Two test runs at once would write the same files: the second waits and finds them.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            part = target.with_suffix(".part")
            subprocess.run(
                [
                    sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
                    "--upgrade", "--target", str(part), "--requirement", str(PINNED),
                ],
                check=True,
            )  # fmt: skip
            part.rename(target)  # last: what was interrupted does not look finished
    return target
