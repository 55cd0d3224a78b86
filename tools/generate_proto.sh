#!/usr/bin/env bash
# Generates the protobuf and gRPC stubs, or with --check compares them with what is committed.
#
# protobuf refuses stubs newer than the runtime and applications bring their own runtime, so
# the stubs come from protoc 25 (grpcio-tools 1.62): they load on every protobuf from 4.25 to 7.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otel-llm-cost/proto-venv-1"
if [ ! -x "$cache/bin/protoc-gen-mypy" ]; then
  python3 -m venv "$cache"
  "$cache/bin/pip" install --quiet "grpcio-tools==1.62.3" "mypy-protobuf==3.6.0" "setuptools<81"
fi
protoc() {
  PATH="$cache/bin:$PATH" "$cache/bin/python" -W ignore -m grpc_tools.protoc "$@"
}
library=instrumentation
processor=collector_processor
if [ "${1:-}" = --check ]; then
  generated=$(mktemp -d) && trap 'rm -rf "$generated"' EXIT
  library=$generated/instrumentation
  processor=$generated/collector_processor
  mkdir "$library" "$processor"
fi
protoc -I policy_service/proto --python_out="$library" --grpc_python_out="$library" \
  --mypy_out="$library" --mypy_grpc_out="$library" llm_cost/policy/v1/policy.proto
# Messages only: the processor's view of OTLP has no service of its own.
protoc -I collector_processor/proto --python_out="$processor" --mypy_out="$processor" \
  llm_cost_processor/raw/v1/raw.proto
if [ -n "${generated:-}" ]; then
  (cd "$generated" && find . -type f) | while read -r stub; do
    cmp "$generated/$stub" "$stub" ||
      { echo "the generated stubs are not those of the .proto files; run 'make proto'" >&2; exit 1; }
  done
fi
