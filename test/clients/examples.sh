#!/usr/bin/env bash
# The programs of examples/python and examples/node as they are. GATEWAY_URL says where the gateway is: an open one, so that
# the snippets of the product brief run unchanged, but for their evident slips.
set -u
. "$(dirname "$0")/expect.sh"
cd "$(dirname "$0")/../../examples" || exit 1

expect 'strategies.py: both calls are answered' '^200 \{[^\n]*\n200 \{[^\n]*\n$' "$PYTHON" python/strategies.py
expect 'streaming.py: prints the story' '^\S+ \S+ \S+' "$PYTHON" python/streaming.py
expect 'authentication.py: an open gateway takes any key' '^200 \{' "$PYTHON" python/authentication.py
for program in python/openai_client.py node/openai-client.ts; do
  interpreter=$PYTHON
  [ "${program##*.}" = py ] || interpreter=node
  expect "$program" '(?s)demo.*\n[1-9]\d* tokens\n404 model_not_found: .*no-such-model.*\(request \S+\)' \
    "$interpreter" "$program" "$GATEWAY_URL"
done
expect 'grpc_client.py' '(?s)^demo .*\n[1-9]\d* tokens\n.*\n[1-9]\d* tokens\nNOT_FOUND: .*\(MODEL_NOT_FOUND\)' \
  "$PYTHON" python/grpc_client.py "${GATEWAY_URL#http://}"
