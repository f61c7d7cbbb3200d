#!/usr/bin/env bash
# The brief's snippet about authentication against a gateway whose only key is the snippet's. GATEWAY_URL says where it is.
set -u
. "$(dirname "$0")/expect.sh"
cd "$(dirname "$0")/../../examples/python" || exit 1
post() { curl -s -m 30 -w '\n%{http_code}' -d '{"messages": [{"role": "user", "content": "Hello!"}]}' "$@" "$GATEWAY_URL/completion"; }

expect 'the key of the snippet is taken' '^200 \{.*demo' "$PYTHON" authentication.py
expect 'no key is refused' '(?s)"error".*\n401' post -H 'content-type: application/json'
expect 'another key is refused' '(?s)"error".*\n401' post -H 'content-type: application/json' -H 'authorization: Bearer another'
