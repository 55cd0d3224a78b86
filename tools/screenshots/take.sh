#!/usr/bin/env bash
# Draws a dashboard from a running Prometheus and takes a picture of it. Developers only.
#
#   tools/screenshots/take.sh PROMETHEUS_URL DASHBOARD.json OUT.png [RANGE_S [SCRAPE_INTERVAL_S]]
#
# Needs node, npm and chromium. The packages and the built page are cached outside the checkout.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
export PROMETHEUS_URL=$1 DASHBOARD_FILE out range_s=${4:-21600} scrape_s=${5:-15}
DASHBOARD_FILE=$(realpath "$2")
out=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otel-llm-cost/screenshots"
width=1600 # px: wide enough for the tier table

mkdir -p "$cache"
cp -r "$here"/{package.json,vite.config.js,index.html,src} "$cache/"
cd "$cache"
npm install --no-audit --no-fund --no-package-lock --silent --legacy-peer-deps
node_modules/.bin/vite build --logLevel warn

port=$(node -e 's = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
node_modules/.bin/vite preview --port "$port" --strictPort --logLevel warn &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
until curl -sf "http://127.0.0.1:$port/dashboard.json" >/dev/null; do kill -0 $server; sleep 0.2; done

# As high as the lowest panel; the numbers are those of main.jsx.
height=$(node -p 'Math.max(...JSON.parse(fs.readFileSync(process.env.DASHBOARD_FILE)).panels.map((p) => p.gridPos.y + p.gridPos.h)) * 38 + 8')
chromium --headless --no-sandbox --hide-scrollbars --window-size=$width,$height \
  --virtual-time-budget=20000 --screenshot="$out" \
  "http://127.0.0.1:$port/?range_s=$range_s&scrape_s=$scrape_s" 2>/dev/null
echo "$out"
