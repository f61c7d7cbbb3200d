#!/usr/bin/env bash
# grpc-health-probe: the gateway as a whole, and each service. GATEWAY_URL says where the gateway is.
set -u
. "$(dirname "$0")/expect.sh"
probe() { grpc-health-probe -addr "${GATEWAY_URL#http://}" -connect-timeout 2s -rpc-timeout 2s "$@"; }

expect 'serving' 'status: SERVING' probe
for service in CompletionService EmbeddingService ProviderService HealthService AdminService; do
  expect "serving $service" 'status: SERVING' probe -service "llmgateway.v1.$service"
done
refuse 'an unknown service is not found' '(?i)NotFound|unknown' probe -service llmgateway.v1.NoSuchService
