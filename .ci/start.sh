#!/usr/bin/env bash
# `npm start` serves within two seconds, with nothing configured, and ends by itself on SIGTERM. A busy machine has three tries.
set -u
. "$(dirname "$0")/../test/clients/gateway.sh"
for _ in 1 2 3; do
  start_gateway || exit 1
  echo "ready after $READY_MS ms"
  stop_gateway || { tail -n 20 "$GATEWAY_LOG"; exit 1; }
  [ "$READY_MS" -gt 2000 ] || exit 0
done
exit 1
