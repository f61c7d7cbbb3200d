#!/usr/bin/env bash
# grpcurl by reflection alone. GATEWAY_URL says where the gateway is.
set -u
. "$(dirname "$0")/expect.sh"
address=${GATEWAY_URL#http://}
service=llmgateway.v1.CompletionService
call() { grpcurl -plaintext -max-time 60 -H "authorization: Bearer $GATEWAY_API_KEY" "$@"; }
question() { printf '{"request": {"model": "%s", "messages": [{"role": "ROLE_USER", "parts": [{"text": "Hello!"}]}]}}' "$1"; }

for name in "$service" llmgateway.v1.EmbeddingService llmgateway.v1.ProviderService llmgateway.v1.HealthService llmgateway.v1.AdminService \
  grpc.health.v1.Health grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection; do
  expect "lists $name" "(?m)^\Q$name\E$" call "$address" list
done
expect 'describes the service' 'rpc StreamCompletion \( .llmgateway.v1.StreamCompletionRequest \) returns \( stream' \
  call "$address" describe "$service"
expect 'describes a message' 'repeated .llmgateway.v1.Message messages = 2' \
  call "$address" describe llmgateway.v1.CompletionRequest
expect 'completes' '(?s)"provider": "demo".*"outputText": "\S' \
  call -d "$(question '')" "$address" "$service/CreateCompletion"
expect 'streams' '(?s)"started".*"textDelta".*"textDelta".*"choiceFinished".*"finished".*"totalTokens": [1-9]' \
  call -d "$(question '')" "$address" "$service/StreamCompletion"
for method in CreateCompletion StreamCompletion; do
  refuse "$method: typed error of an unknown model" '(?s)Code: NotFound.*google.rpc.ErrorInfo.*"MODEL_NOT_FOUND"' \
    call -d "$(question no-such-model)" "$address" "$service/$method"
  refuse "$method: typed error with the attempts" '(?s)Code: Unavailable.*llmgateway.v1.CallFailure.*"provider": "dead"' \
    call -d "$(question unreachable)" "$address" "$service/$method"
done
refuse 'names the field that is wrong' '(?s)Code: InvalidArgument.*google.rpc.BadRequest.*messages' \
  call -d '{"request": {}}' "$address" "$service/CreateCompletion"
refuse 'refuses a stranger' 'Code: Unauthenticated' \
  grpcurl -plaintext -import-path "$(dirname "$0")/../../proto" -proto llmgateway/v1/completion_service.proto \
  -d "$(question '')" "$address" "$service/CreateCompletion"
