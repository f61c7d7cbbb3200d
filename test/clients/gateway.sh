# Sourced by the checks: starts the gateway as a user would, by `npm start`, and ends it.
#
#   start_gateway [NAME=VALUE...]    sets GATEWAY_URL, GATEWAY_LOG and READY_MS
#   stop_gateway                     by SIGTERM; fails unless it ends by itself with code 0. Also runs at exit, without the judging
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
temporary=$(mktemp -d "${TMPDIR:-/tmp}/llm-gateway-check.XXXXXX")
gateway_group=''
export GATEWAY_LOG=/dev/null

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

start_gateway() {
  local port=${GATEWAY_PORT:-$(free_port)} begun
  export GATEWAY_URL=http://127.0.0.1:$port GATEWAY_LOG=$temporary/gateway.log
  # Settings of this machine must not leak in, so the environment starts empty. A session of its own can be ended as one.
  begun=$(milliseconds)
  (cd "$repository" && exec setsid env -i PATH="$PATH" HOME="$HOME" PORT="$port" HOST=127.0.0.1 "$@" npm start) \
    >"$GATEWAY_LOG" 2>&1 </dev/null &
  gateway_group=$!
  until [ "$(curl -s -o "$temporary/readyz" -m 2 -w '%{http_code}' "$GATEWAY_URL/readyz")" = 200 ]; do
    if ! kill -0 "$gateway_group" 2>/dev/null || [ $(($(milliseconds) - begun)) -gt 20000 ]; then
      echo "the gateway was not ready after $(($(milliseconds) - begun)) ms:"
      tail -n 30 "$GATEWAY_LOG"
      return 1
    fi
    sleep 0.05
  done
  READY_MS=$(($(milliseconds) - begun))
}

# The process that serves: npm and its shell wait for it, and would not pass a signal on.
serving_process() {
  local process=$1 child
  while child=$(pgrep -P "$process" | tail -n 1) && [ -n "$child" ]; do process=$child; done
  echo "$process"
}

stop_gateway() {
  [ -n "$gateway_group" ] || return 0
  local group=$gateway_group code=0 deadline=$(($(milliseconds) + 10000))
  gateway_group=''
  kill -TERM "$(serving_process "$group")" 2>/dev/null
  while kill -0 -- "-$group" 2>/dev/null && [ "$(milliseconds)" -lt "$deadline" ]; do sleep 0.05; done
  kill -KILL -- "-$group" 2>/dev/null && echo 'the gateway had to be killed'
  wait "$group" || code=$?
  [ "$code" = 0 ] || echo "the gateway ended with code $code"
  return "$code"
}

clean_up() {
  local code=$?
  stop_gateway >/dev/null 2>&1
  rm -rf "$temporary"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
