#!/usr/bin/env bash
# The README's curl and grpcurl lines answer as it prints. Where port 8080 is taken, another one stands in for it.
set -u
. "$(dirname "$0")/../test/clients/gateway.sh"
curl -s -o "$temporary/taken" -m 1 http://127.0.0.1:8080/ || [ $? != 7 ] || GATEWAY_PORT=8080
start_gateway || exit 1
"$repository/node_modules/.bin/node" "$repository/.ci/readme.ts"
