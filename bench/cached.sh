#!/usr/bin/env bash
# What an answer from the cache costs, in memory and in Redis, beside a raw proxy; and how soon it comes at 200 calls a second.
#
#   bash bench/cached.sh [SECONDS]
set -euo pipefail
seconds=${1:-5}
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
BENCH_HOME=${BENCH_HOME:-${TMPDIR:-/tmp}/llm-gateway-bench}
harness=${BENCH_HARNESS:-$REPOSITORY/../shared/bench}
[ -x "$BENCH_HOME/bin/vegeta" ] || "$harness/setup.sh"
node=$REPOSITORY/node_modules/.bin/node

key=bench-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export BENCH_KEY_SHA256
BENCH_KEY_SHA256=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)
# The ports are fixed: two runs at once would measure each other.
exec 9>"$BENCH_HOME/lock"
flock 9
cd "$REPOSITORY"
scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT
printf '{"model":"mock","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say hello in one sentence."}]}' >"$scratch/body"

GOMAXPROCS=1 taskset -c 1 "$BENCH_HOME/bin/mock" -addr 127.0.0.1:9110 >"$scratch/mock.log" 2>&1 &
taskset -c 1 redis-server --port 9130 --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" >"$scratch/redis.log" &

# measure NAME URL PID
measure() {
  for _ in $(seq 100); do
    [ "$(curl -s -o "$scratch/ready" -w '%{http_code}' -H "authorization: Bearer $key" -H 'content-type: application/json' \
      -d @"$scratch/body" "$2")" = 200 ] && break
    sleep 0.1
  done
  load() {
    BODY_FILE=$scratch/body HDRS="authorization: Bearer $key" taskset -c 1 \
      wrk -t1 -c64 "-d${1}s" -s "$harness/profiles/post.lua" "$2"
  }
  load 3 "$2" >"$scratch/warm"
  before=$(awk '{print $14 + $15}' "/proc/$3/stat")
  load "$seconds" "$2" >"$scratch/loaded"
  after=$(awk '{print $14 + $15}' "/proc/$3/stat")
  requests=$(grep -o '"requests":[0-9]*' "$scratch/loaded" | cut -d: -f2)
  errors=$(grep -o '"e_status":[0-9]*' "$scratch/loaded" | cut -d: -f2)
  printf '{"method":"POST","url":"%s","header":{"authorization":["Bearer %s"],"content-type":["application/json"]},"body":"%s"}\n' \
    "$2" "$key" "$(base64 -w0 "$scratch/body")" |
    taskset -c 1 "$BENCH_HOME/bin/vegeta" attack -format=json -rate=200 "-duration=${seconds}s" |
    "$BENCH_HOME/bin/vegeta" report -type=json >"$scratch/paced"
  p95=$(grep -o '"95th":[0-9]*' "$scratch/paced" | cut -d: -f2)
  awk -v name="$1" -v cpu="$(((after - before) * 10000))" -v n="$requests" -v errors="$errors" -v p95="$p95" \
    'BEGIN { printf "%-10s %5.0f µs of CPU a call (%d calls, %d failed); P95 at 200 a second %.2f ms\n", name, cpu / n, n, errors, p95 / 1e6 }'
}

PORT=9203 UP=http://127.0.0.1:9110 taskset -c 0 "$node" "$BENCH_HOME/node/proxy.mjs" >"$scratch/proxy.log" 2>&1 &
proxy=$!
measure raw http://127.0.0.1:9203/v1/chat/completions "$proxy"
kill "$proxy"

for store in memory redis; do
  [ "$store" = memory ] && url='' || url=redis://127.0.0.1:9130
  PORT=9220 HOST=127.0.0.1 NODE_ENV=production ENABLE_OLLAMA=false REDIS_URL=$url taskset -c 0 "$node" src/main.ts \
    --config bench/cached.yaml >"$scratch/gateway.log" 2>&1 &
  gateway=$!
  measure "$store" http://127.0.0.1:9220/v1/chat/completions "$gateway"
  kill -TERM "$gateway"
  wait "$gateway" || tail -n 5 "$scratch/gateway.log"
done
