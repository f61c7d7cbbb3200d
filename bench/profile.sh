#!/usr/bin/env bash
# Lists the functions of the gateway that take the most time themselves under load.
#
#   bash bench/profile.sh unary|burst|paced [SECONDS]
set -euo pipefail
row=${1:?unary, burst or paced}
seconds=${2:-5}
export REPOSITORY BENCH_HOME BENCH_KEY_SHA256
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/llm-gateway-bench}
harness=${BENCH_HARNESS:-$REPOSITORY/../shared/bench}
node=$REPOSITORY/node_modules/.bin/node
[ -x "$BENCH_HOME/bin/mock" ] || "$harness/setup.sh"

key=bench-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
BENCH_KEY_SHA256=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)
url=http://127.0.0.1:9210
exec 9>"$BENCH_HOME/lock"
flock 9
scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT

GOMAXPROCS=1 taskset -c 1 "$BENCH_HOME/bin/mock" -addr 127.0.0.1:9100 >"$scratch/mock.log" 2>&1 &
cd "$REPOSITORY"
PORT=9210 HOST=127.0.0.1 NODE_ENV=production ENABLE_OLLAMA=false taskset -c 0 "$node" --cpu-prof --cpu-prof-dir="$scratch" \
  src/main.ts --config bench/gateway.yaml >"$scratch/gateway.log" 2>&1 &
gateway=$!
for _ in $(seq 100); do
  [ "$(curl -s -o "$scratch/ready" -w '%{http_code}' "$url/readyz")" = 200 ] && break
  sleep 0.1
done

load() {
  case $row in
    unary)
      printf '{"model":"mock","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say hello in one sentence."}]}' >"$scratch/body"
      BODY_FILE=$scratch/body HDRS="authorization: Bearer $key" taskset -c 1 \
        wrk -t1 -c64 "-d${1}s" -s "$harness/profiles/post.lua" "$url/v1/chat/completions"
      ;;
    burst | paced)
      model=mock-c100-d0
      [ "$row" = burst ] || model=mock-c100-d5
      taskset -c 1 "$BENCH_HOME/bin/sseload" -url "$url/v1/chat/completions" -H "authorization: Bearer $key" \
        -model "$model" -c 32 -dur "${1}s"
      ;;
    *) echo "unknown row $row" >&2 && exit 2 ;;
  esac
}
load 3 >"$scratch/warm"
load "$seconds"
kill -TERM "$gateway"
wait "$gateway" || tail -n 5 "$scratch/gateway.log"
"$node" bench/profile.ts "$scratch"/*.cpuprofile "$seconds"
