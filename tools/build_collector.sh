#!/usr/bin/env bash
# Prints the path of the OpenTelemetry Collector that collector/builder-config.yaml describes.
#
# Builds it with the OpenTelemetry Collector Builder only when the cache, which is outside the
# checkout, lacks it: some minutes the first time, nothing afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
config=$PWD/collector/builder-config.yaml
version=$(sed -n 's/^ *version: *//p' "$config" | head -1)
builder=go.opentelemetry.io/collector/cmd/builder@v$version
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otel-llm-cost/collector-$(sha256sum "$config" | cut -c1-16)"
binary=$cache/otelcol-llm-cost
if [ ! -x "$binary" ]; then
  if ! command -v go >/dev/null; then
    echo "the Collector is built with Go, and there is no 'go' on PATH; install Go 1.26 or newer" >&2
    exit 1
  fi
  mkdir -p "$cache"
  # Two builds at once would write the same files: the second waits and finds the binary.
  exec 9>"$cache/lock"
  flock 9
fi
if [ ! -x "$binary" ]; then
  echo "building the Collector $version into $cache; this takes some minutes, once" >&2
  (cd "$cache" && CGO_ENABLED=0 go run "$builder" --config "$config") >&2
  # Last, by a rename: a build that was interrupted leaves nothing that looks finished.
  mv "$cache/_build/otelcol-llm-cost" "$binary"
  rm -rf "$cache/_build"
fi
echo "$binary"
