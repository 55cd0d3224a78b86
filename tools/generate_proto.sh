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
target=instrumentation
[ "${1:-}" = --check ] && target=$(mktemp -d) && trap 'rm -rf "$target"' EXIT
PATH="$cache/bin:$PATH" "$cache/bin/python" -W ignore -m grpc_tools.protoc \
  -I policy_service/proto --python_out="$target" --grpc_python_out="$target" \
  --mypy_out="$target" --mypy_grpc_out="$target" llm_cost/policy/v1/policy.proto
if [ "$target" != instrumentation ]; then
  for stub in "$target"/llm_cost/policy/v1/*; do
    cmp "$stub" "instrumentation/llm_cost/policy/v1/$(basename "$stub")" ||
      { echo "the generated stubs are not those of policy.proto; run 'make proto'" >&2; exit 1; }
  done
fi
