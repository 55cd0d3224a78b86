"""What an operator can say: the command line over the environment over the defaults."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_cost.errors import ConfigurationError
from llm_cost_policy.transport import is_loopback

PREFIX: Final = "LLM_COST_POLICY_"
DATABASE: Final = PREFIX + "DATABASE"
LISTEN: Final = PREFIX + "LISTEN"
ADMIN_LISTEN: Final = PREFIX + "ADMIN_LISTEN"
METRICS_LISTEN: Final = PREFIX + "METRICS_LISTEN"
POLICY_FILE: Final = PREFIX + "FILE"
INSECURE: Final = PREFIX + "INSECURE"
TLS_CERTIFICATE: Final = PREFIX + "TLS_CERTIFICATE"
TLS_KEY: Final = PREFIX + "TLS_KEY"

_YES: Final = ("1", "true", "yes")
_NO: Final = ("", "0", "false", "no")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service keeps its data and where it listens."""

    database: Path
    listen: str
    admin_listen: str
    metrics_listen: str
    policy_file: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    insecure: bool

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-certificate and --tls-key go together; give both")
        for option, address in (
            ("--listen", self.listen),
            ("--admin-listen", self.admin_listen),
            ("--metrics-listen", self.metrics_listen),
        ):
            _check_address(option, address)
            # The metrics endpoint speaks plain HTTP only.
            encrypted = self.tls_certificate is not None and option != "--metrics-listen"
            if not (is_loopback(address) or encrypted or self.insecure):
                raise ConfigurationError(
                    f"{option} {address} can be reached from other machines without encryption; "
                    "listen on 127.0.0.1, give --tls-certificate and --tls-key, "
                    "or say --insecure"
                )


def settings_from(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; what cannot be used raises `ConfigurationError`."""
    env = os.environ if environment is None else environment
    parsed = _parser(env).parse_args(arguments)
    return Settings(
        database=Path(parsed.database),
        listen=parsed.listen,
        admin_listen=parsed.admin_listen,
        metrics_listen=parsed.metrics_listen,
        policy_file=_path(parsed.policy),
        tls_certificate=_path(parsed.tls_certificate),
        tls_key=_path(parsed.tls_key),
        insecure=parsed.insecure or _flag(env, INSECURE),
    )


def _parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llm_cost_policy",
        description="Decides whether an LLM call may be made, and records what it cost.",
        epilog=f"Each option can be given as {PREFIX}OPTION in the environment.",
    )
    parser.add_argument("--database", default=env.get(DATABASE, "llm-cost.sqlite"), metavar="FILE")
    for option, name, address in (
        ("--listen", LISTEN, "127.0.0.1:50151"),
        ("--admin-listen", ADMIN_LISTEN, "127.0.0.1:50152"),
        ("--metrics-listen", METRICS_LISTEN, "127.0.0.1:9465"),
    ):
        parser.add_argument(option, default=env.get(name, address), metavar="HOST:PORT")
    parser.add_argument("--policy", default=env.get(POLICY_FILE, ""), metavar="FILE")
    parser.add_argument("--tls-certificate", default=env.get(TLS_CERTIFICATE, ""), metavar="FILE")
    parser.add_argument("--tls-key", default=env.get(TLS_KEY, ""), metavar="FILE")
    parser.add_argument("--insecure", action="store_true", help="listen beyond loopback in clear")
    return parser


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value not in _YES + _NO:
        raise ConfigurationError(f"{name}={value!r} is neither of {_YES[1:]} nor of {_NO[1:]}")
    return value in _YES


def _check_address(option: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(
            f"{option} {address!r} is no HOST:PORT; write for example 127.0.0.1:50151, "
            "port 0 for any free one"
        )
