#!/usr/bin/env bash
# `buf curl` in three protocols, by reflection and by schema. GATEWAY_URL says where the gateway is.
set -u
. "$(dirname "$0")/expect.sh"
cd "$(dirname "$0")/../.." || exit 1
service=$GATEWAY_URL/llmgateway.v1.CompletionService
key="authorization: Bearer $GATEWAY_API_KEY"
# gRPC and reflection go over HTTP/2; the other two with the schema at hand over HTTP/1.1.
call() {
  local protocol=$1 schema=$2
  shift 2
  case $schema in
    reflection) buf curl --protocol "$protocol" --header "$key" --reflect-header "$key" "$@" ;;
    files) buf curl --protocol "$protocol" --header "$key" --schema . "$@" ;;
  esac
}
question() { printf '{"request": {"model": "%s", "messages": [{"role": "ROLE_USER", "parts": [{"text": "Hello!"}]}]}}' "$1"; }

for protocol in grpc grpcweb connect; do
  for schema in reflection files; do
    by="$protocol by $schema"
    expect "$by: completes" '"outputText":\s*"\S' call "$protocol" "$schema" -d "$(question '')" "$service/CreateCompletion"
    expect "$by: streams" '(?s)"started".*"textDelta".*"textDelta".*"choiceFinished".*"finished".*"totalTokens":\s*[1-9]' \
      call "$protocol" "$schema" -d "$(question '')" "$service/StreamCompletion"
    for method in CreateCompletion StreamCompletion; do
      refuse "$by: $method: typed error" '(?s)"code":\s*"not_found".*google.rpc.ErrorInfo' \
        call "$protocol" "$schema" -d "$(question no-such-model)" "$service/$method"
    done
  done
done
expect 'lists the services' '(?m)^llmgateway\.v1\.CompletionService$' call grpc reflection --list-services "$GATEWAY_URL"
