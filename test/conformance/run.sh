#!/usr/bin/env bash
# Runs the conformance suite of connectrpc.com against our listener. Arguments go to connectconformance.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=$(command -v connectconformance || echo "${XDG_CACHE_HOME:-$HOME/.cache}/llm-gateway-ci/bin/connectconformance")
if [ ! -x "$suite" ]; then
  echo 'connectconformance is missing: go install connectrpc.com/conformance/cmd/connectconformance@v1.0.7' >&2
  exit 1
fi
PATH="$PWD/node_modules/.bin:$PATH"
exec "$suite" --mode server --conf test/conformance/config.yaml "$@" -- node test/conformance/server.ts
