"""Beyond loopback with a certificate: encrypted, and in clear no answer."""

import subprocess
from pathlib import Path

import grpc
import pytest

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc
from support.processes import policy_service_arguments, running


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_a_certificate_encrypts_and_opens_the_way_beyond_loopback(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    arguments = policy_service_arguments(tmp_path / "l.sqlite", listen="0.0.0.0:0")
    tls = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with running([*arguments, *tls]) as service:
        address = f"localhost:{service.ready['policy'].rpartition(':')[2]}"
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(address, trusted) as channel:
            usage = rpc.PolicyServiceStub(channel).GetUsage(pb.GetUsageRequest(user_id="ada"))
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
            rpc.PolicyServiceStub(channel).GetUsage(pb.GetUsageRequest(user_id="ada"), timeout=5)

    assert usage.usage.user_id == "ada"
