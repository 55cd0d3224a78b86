"""litellm in an environment of its own, outside the checkout: it is no dependency of ours."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).with_suffix(".txt")
TESTS = Path(__file__).parents[1]


def python() -> Path:
    """Return its interpreter; installed once into the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-llm-cost"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(PINNED.read_bytes() + version.encode()).hexdigest()[:16]
    target = cache / f"litellm-venv-{key}"
    interpreter, finished = target / "bin" / "python", target / "finished"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "litellm-venv.lock").open("w") as lock:
        # Two test runs at once would write the same files: the second waits and finds them.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(target)], check=True)
            install = [str(interpreter), "-m", "pip", "install", "--quiet", "--requirement"]
            subprocess.run([*install, str(PINNED)], check=True)
            finished.touch()  # last: what was interrupted does not look finished
    return interpreter


def run_cases(cases: Path, report: Path) -> str:
    """Run the tests in `cases` there, write a JUnit report, return what they printed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment |= {
        # Its price map comes from the network otherwise, at import.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONPATH": os.pathsep.join((str(TESTS.parent / "instrumentation"), str(TESTS))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [
            str(python()), "-m", "pytest", "-q", "--import-mode=importlib",
            "-p", "no:cacheprovider",
            "-c", os.devnull, "--rootdir", str(TESTS), "-o", "asyncio_mode=auto",
            f"--junitxml={report}", str(cases),
        ],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr
