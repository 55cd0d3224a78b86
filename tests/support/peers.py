"""Other instrumentations, each really installed in a virtual environment of its own.

An environment is built once, outside of the checkout, and named by its pins: another pin is
another environment.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
BUILDS_AT_ONCE: Final = 2  # pip is bound by the disk and by one core each
BUILD_TIMEOUT_S: Final = 600
SCRIPT_TIMEOUT_S: Final = 100

_CLIENTS: Final = ("openai==3.57.0", "anthropic==2.13.0")
_BASE: Final = ("opentelemetry-sdk==1.45.2", "wrapt==2.5.2")

PINS: Final[dict[str, tuple[str, ...]]] = {
    "base": (*_CLIENTS, *_BASE),
    "genai": (
        *_CLIENTS,
        *_BASE,
        "opentelemetry-instrumentation-genai-openai==1.3b0",
        "opentelemetry-instrumentation-genai-anthropic==1.3b0",
        "opentelemetry-util-genai==1.3b0",
    ),
    # The retired official one: it imports only beside an older util-genai and httpx.
    "openai-v2": (
        *_CLIENTS,
        *_BASE,
        "opentelemetry-instrumentation-openai-v2==2.4b0",
        "opentelemetry-util-genai==1.1b0",
        "httpx==0.28.1",
    ),
    "openllmetry": (
        *_CLIENTS,
        *_BASE,
        "opentelemetry-instrumentation-openai==0.62.4",
        "opentelemetry-instrumentation-anthropic==0.62.4",
    ),
    "openinference": (
        *_CLIENTS,
        *_BASE,
        "openinference-instrumentation-openai==0.1.66",
        "openinference-instrumentation-anthropic==3.1.0",
    ),
    # It asks for openai < 3 and anthropic < 1.
    "openlit": ("openlit==1.45.0", "openai==2.54.0", "anthropic==0.125.0"),
    "logfire": (*_CLIENTS, "logfire==5.4.0"),
    "langchain": (
        *_CLIENTS,
        *_BASE,
        "langchain-openai==1.7.4",
        "langchain-anthropic==1.7.10",
        "openinference-instrumentation-langchain==0.1.80",
        "openinference-instrumentation-openai==0.1.66",
        "opentelemetry-instrumentation-langchain==0.62.4",
        "opentelemetry-instrumentation-openai==0.62.4",
    ),
    "llama-index": (
        *_BASE,
        "llama-index-llms-openai==0.8.3",
        "openinference-instrumentation-llama-index==4.6.1",
        "opentelemetry-instrumentation-llamaindex==0.62.4",
    ),
}


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "otel-llm-cost" / "peers"


def environment(name: str) -> Path:
    """Return the folder of the environment `name`, built if it is not there."""
    pins = PINS[name]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256("\n".join((version, *pins)).encode()).hexdigest()[:12]
    folder = _cache() / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".built").exists():
            _build(folder, pins)
    return folder


def _build(folder: Path, pins: tuple[str, ...]) -> None:
    # Without a pip of its own, which takes longer to unpack than most of the peers.
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"))
    _run(*pip, "install", "--quiet", "--disable-pip-version-check", *pins)
    (folder / ".built").touch()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"


def build_all(names: tuple[str, ...] = tuple(PINS)) -> None:
    """Build what is missing, the largest first."""
    with ThreadPoolExecutor(BUILDS_AT_ONCE) as pool:
        for _ in pool.map(environment, sorted(names, key=lambda name: -len(PINS[name]))):
            pass


def run(name: str, script: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a script of ours in the environment `name`; return the JSON lines that it printed."""
    folders = (ROOT / "instrumentation", ROOT / "tests", ROOT)
    done = subprocess.run(
        [str(environment(name) / "bin" / "python"), str(script), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "TRACELOOP_TELEMETRY": "false",
            "ANONYMIZED_TELEMETRY": "false",
        },
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    build_all()
