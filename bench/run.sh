#!/usr/bin/env bash
# Measures what a call costs in the gateway, beside the least that a Node proxy can do; bench/README.md says how to read it.
#
#   npm run bench                   five interleaved rounds, about five minutes
#   npm run bench -- --telemetry    what traces and metrics cost, beside neither: four rounds, about five minutes
#   npm run bench -- --quick        short phases, for a first look
#   npm run bench -- --rounds 9     and the other options of ../shared/bench/run.sh
set -euo pipefail
export REPOSITORY BENCH_HOME GATEWAY_BENCH_KEY BENCH_KEY_SHA256
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/llm-gateway-bench}
harness=${BENCH_HARNESS:-$REPOSITORY/../shared/bench}

[ -x "$harness/run.sh" ] || { echo "no bench harness in $harness: set BENCH_HARNESS" >&2; exit 1; }
[ -x "$BENCH_HOME/bin/mock" ] || "$harness/setup.sh"

GATEWAY_BENCH_KEY=bench-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
BENCH_KEY_SHA256=$(printf %s "$GATEWAY_BENCH_KEY" | sha256sum | cut -d ' ' -f 1)
results=$BENCH_HOME/results/gateway.json

# The harness's ports are fixed: two runs at once would measure each other.
exec 9>"$BENCH_HOME/lock"
flock 9

only=raw-node26,ours
if [ "${1:-}" = --telemetry ]; then
  # One after the other, two equal gateways differ by up to ten percent. beside.ts loads both in turn.
  cd "$REPOSITORY"
  case ${2:-} in
    '') rounds=4 ;;
    --quick) rounds=1 ;;
    --rounds) rounds=${3:?} ;;
    *) echo "--telemetry takes --rounds N or --quick, not $2" >&2; exit 64 ;;
  esac
  node_modules/.bin/node bench/beside.ts "$harness" untold,traced "$rounds" "$results"
  exec node_modules/.bin/node bench/report.ts "$results"
elif [ "${1:-}" = --limits ]; then
  only=ours,limited,limited-redis
  shift
  redis-server --port 9390 --bind 127.0.0.1 --save '' --loglevel warning >"$BENCH_HOME/redis.log" &
  trap "kill $! 2>/dev/null" EXIT
fi

# 3: a round failed. The others are there to be read, and the report names it.
status=0
"$harness/run.sh" --targets "$REPOSITORY/bench/targets.json" --only "$only" --scen throughput,sse,paced \
  --rounds 5 --warm 10 --thr 4 --sse 4 --paced 4 --out "$results" "$@" || status=$?
[ "$status" = 0 ] || [ "$status" = 3 ] || exit "$status"
"$REPOSITORY/node_modules/.bin/node" "$REPOSITORY/bench/report.ts" "$results"
