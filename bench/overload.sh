#!/usr/bin/env bash
# What is left of the gateway at twice the load that it can bear; bench/README.md says what should be.
#
#   bash bench/overload.sh [SECONDS] [KILOBYTES of prompt] [CONNECTIONS]
set -euo pipefail
seconds=${1:-15}
export REPOSITORY BENCH_HOME BENCH_KEY BENCH_KEY_SHA256
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/llm-gateway-bench}
harness=${BENCH_HARNESS:-$REPOSITORY/../shared/bench}
[ -x "$BENCH_HOME/bin/mock" ] || "$harness/setup.sh"

BENCH_KEY=bench-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
BENCH_KEY_SHA256=$(printf %s "$BENCH_KEY" | sha256sum | cut -d ' ' -f 1)
# The ports are fixed: two runs at once would measure each other.
exec 9>"$BENCH_HOME/lock"
flock 9
cd "$REPOSITORY"
exec node_modules/.bin/node bench/overload.ts "$seconds" "${2:-0}" "${3:-2000}"
