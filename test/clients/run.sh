#!/usr/bin/env bash
# Checks the gateway with clients of other makes and languages, each against a gateway started by `npm start`.
#
#   bash test/clients/run.sh            names the clients
#   bash test/clients/run.sh NAME...    runs these
#
# `bash .ci/tools.sh` installs what they need. SHARED is the folder with tools/start-llm.sh, for real-model.
set -u
here=$(cd "$(dirname "$0")" && pwd)
clients=(python-grpc python-openai python-langchain python-llamaindex node-openai node-connect node-langchain node-llamaindex
  node-vercel-ai grpcurl buf-curl health-probe browser examples authentication real-model)
. "$here/../../.ci/tools.sh"
. "$here/gateway.sh"
export PATH=$repository/node_modules/.bin:$PATH
SHARED=${SHARED:-$repository/../shared}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: run bash .ci/tools.sh"; exit 1; }
  done
}

# A gateway that wants a key, with the built-in provider and a dead one.
start_with_key() {
  export GATEWAY_API_KEY
  GATEWAY_API_KEY=check-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  start_gateway GATEWAY_CONFIG="$here/gateway.yaml" DEAD_PORT="$(free_port)" \
    GATEWAY_API_KEYS="checks:default:$GATEWAY_API_KEY" ENABLE_OLLAMA=false
}

compile_python() {
  mkdir -p "$temporary/python"
  (cd "$repository/proto" && find llmgateway google buf -name '*.proto' -print0 |
    xargs -0 "$PYTHON" -m grpc_tools.protoc -I . --python_out="$temporary/python" --grpc_python_out="$temporary/python")
  export PYTHONPATH=$temporary/python
}

run_real_model() {
  local settings begun_here=''
  curl -s -o "$temporary/llm" -m 2 "http://127.0.0.1:${LLM_PORT:-11435}/health" || begun_here=yes
  settings=$("$SHARED/tools/start-llm.sh") || return 1
  # shellcheck disable=SC2086
  start_gateway GATEWAY_CONFIG="$here/real-model.yaml" DEAD_PORT="$(free_port)" ENABLE_OLLAMA=false $settings &&
    node "$here/real-model.ts"
  local code=$?
  [ -z "$begun_here" ] || "$SHARED/tools/stop-llm.sh"
  return "$code"
}

# Packages are looked for beside a program, so it is run from beside them.
run_node_framework() {
  [ -f "$NODE_FRAMEWORKS/installed.json" ] || { echo "the packages of $1 are missing: run bash .ci/tools.sh"; return 1; }
  cp "$here/node-frameworks/$1.mjs" "$NODE_FRAMEWORKS" && start_with_key && node "$NODE_FRAMEWORKS/$1.mjs"
}

run_client() {
  case $1 in
    python-grpc) need "$PYTHON" && compile_python && start_with_key && "$PYTHON" "$here/python-grpc.py" ;;
    python-openai | python-langchain) need "$PYTHON" && start_with_key && "$PYTHON" "$here/$1.py" ;;
    python-llamaindex) need "$LLAMAINDEX_PYTHON" && start_with_key && "$LLAMAINDEX_PYTHON" "$here/$1.py" ;;
    node-openai | node-connect) start_with_key && node "$here/$1.ts" ;;
    node-langchain | node-llamaindex | node-vercel-ai) run_node_framework "$1" ;;
    browser) need "$CHROMIUM" && start_with_key && node "$here/browser.ts" ;;
    grpcurl) need grpcurl && start_with_key && bash "$here/grpcurl.sh" ;;
    buf-curl) need buf && start_with_key && bash "$here/buf-curl.sh" ;;
    health-probe) need grpc-health-probe && start_with_key && bash "$here/health-probe.sh" ;;
    examples) need "$PYTHON" && compile_python && start_gateway && bash "$here/examples.sh" ;;
    authentication)
      need "$PYTHON" && start_gateway GATEWAY_API_KEYS=me:default:your-token-here &&
        bash "$here/authentication.sh"
      ;;
    real-model) run_real_model ;;
    *) echo "unknown client $1: one of ${clients[*]}"; return 2 ;;
  esac
}

[ $# -gt 0 ] || { echo "${clients[*]}"; exit; }
failed=0
for name in "$@"; do
  echo "== $name"
  run_client "$name" || { failed=1; echo "$name failed; the gateway's last lines:"; tail -n 20 "$GATEWAY_LOG"; }
  stop_gateway || failed=1
done
exit "$failed"
