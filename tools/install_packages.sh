#!/usr/bin/env bash
# The Debian packages named as arguments whose command is missing: PACKAGE=COMMAND ...
# Installs only as root; otherwise says what is needed and stops. Without arguments: what the tests need.
set -euo pipefail
[ $# -gt 0 ] || set -- prometheus="command -v prometheus"
missing=()
for wanted in "$@"; do
  eval "${wanted#*=}" >/dev/null 2>&1 || missing+=("${wanted%%=*}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}; install with your package manager and run this again" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# The packages start services of their own at installation; the tests start theirs.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
