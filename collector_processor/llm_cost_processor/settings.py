"""The processor's command line and environment. Everything else takes a `Settings`."""

import argparse
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_cost.errors import ConfigurationError
from llm_cost_processor.dialects import SubjectNames

VARIABLE_PREFIX: Final = "LLM_COST_PROCESSOR_"
SPOOL_MIB: Final = 256
"""About a million settlements: a day of an outage at ten calls a second."""
_SPOOL_MIB_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator says.

    forward: "host:port" of the next OTLP/gRPC hop; None: this is the last one.
    policy: "host:port" of the policy service; None: price and count only.
    spool: where settlements wait for it.
    """

    listen: str
    metrics_listen: str
    forward: str | None
    policy: str | None
    spool: Path | None
    spool_max_bytes: int
    subjects: SubjectNames


def from_command_line(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; raises `ConfigurationError` for what cannot be used."""
    given = _parser(os.environ if environment is None else environment).parse_args(arguments)
    for name in ("listen", "metrics_listen"):
        _check_address(f"--{name.replace('_', '-')}", getattr(given, name), given.insecure)
    if given.policy and not given.spool:
        raise ConfigurationError(
            "--policy needs --spool DIR: settlements wait there while the policy service is away"
        )
    defaults = SubjectNames()
    return Settings(
        listen=given.listen,
        metrics_listen=given.metrics_listen,
        forward=given.forward or None,
        policy=given.policy or None,
        spool=Path(given.spool) if given.spool else None,
        spool_max_bytes=_mebibytes(given.spool_max_mib) << 20,
        subjects=SubjectNames(
            user=_names(given.user_attributes) or defaults.user,
            tier=_names(given.tier_attributes) or defaults.tier,
            group=_names(given.group_attributes) or defaults.group,
        ),
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm_cost_processor",
        description="Prices the GenAI spans of an OpenTelemetry pipeline. "
        f"Each option can also be given as {VARIABLE_PREFIX}<OPTION> in the environment.",
    )

    def option(name: str, default: str, what: str) -> None:
        variable = VARIABLE_PREFIX + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", default=environment.get(variable, default), help=what)

    option("listen", "127.0.0.1:4317", "where OTLP/gRPC is taken")
    option("metrics-listen", "127.0.0.1:9465", "where Prometheus scrapes /metrics")
    option("forward", "", "HOST:PORT of the next OTLP/gRPC hop; none: the last hop")
    option("policy", "", "HOST:PORT of the policy service; none: settle nothing")
    option("spool", "", "folder where settlements wait for the policy service")
    option("spool-max-mib", str(SPOOL_MIB), "how much may wait before senders have to")
    option("user-attributes", "", "comma-separated attributes that say who pays, in order")
    option("tier-attributes", "", "the same for the tier")
    option("group-attributes", "", "the same for the group")
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=environment.get(VARIABLE_PREFIX + "INSECURE", "") in ("1", "true"),
        help="listen beyond loopback although nothing is encrypted",
    )
    return parser


def _check_address(option: str, address: str, insecure: bool) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(f"{option} {address!r} is not HOST:PORT")
    if not insecure and not _is_loopback(host.strip("[]")):
        raise ConfigurationError(
            f"{option} {address!r} is reachable from outside and not encrypted; "
            "use 127.0.0.1, or say --insecure on a network you trust"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mebibytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _SPOOL_MIB_LIMIT:
        raise ConfigurationError(
            f"--spool-max-mib {text!r} is not a whole number from 1 to {_SPOOL_MIB_LIMIT}"
        )
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
