#!/usr/bin/env bash
# Installs what the checks need beside the gateway's own packages, by package name, into CI_TOOLS. What is there already is kept.
#
# Sourced for its variables and functions; run by itself it installs everything.
set -uo pipefail
export CI_TOOLS=${CI_TOOLS:-$HOME/.cache/llm-gateway-ci}
export PATH=$CI_TOOLS/bin:$PATH:/usr/local/go/bin
export PYTHON=$CI_TOOLS/venv/bin/python LLAMAINDEX_PYTHON=$CI_TOOLS/llamaindex/bin/python
export NODE_FRAMEWORKS=$CI_TOOLS/node-frameworks DEPLOY_TOOLS=$CI_TOOLS/deploy/bin
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
tools_repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# install_go_tool PACKAGE VERSION
install_go_tool() {
  local name=${1%/v[0-9]} binary
  binary=$CI_TOOLS/bin/${name##*/}
  [ -x "$binary" ] && go version -m "$binary" | grep -qP "^\tmod\t\S+\t\Q$2\E\t" && return 0
  GOBIN=$CI_TOOLS/bin go install "$1@$2"
}

# One after the other: each build uses every core.
install_go_tools() {
  install_go_tool github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.4 &&
    install_go_tool github.com/grpc-ecosystem/grpc-health-probe v0.4.61 &&
    install_go_tool connectrpc.com/conformance/cmd/connectconformance v1.0.7 &&
    install_go_tool sigs.k8s.io/kustomize/kustomize/v5 v5.7.1
}

# install_python_venv NAME REQUIREMENTS...
install_python_venv() {
  local venv=$CI_TOOLS/$1 file files=()
  shift
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
  for file in "$@"; do files+=(-r "$tools_repository/$file"); done
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: "${files[@]}"
}

install_python_packages() {
  install_python_venv venv examples/python/requirements.txt test/clients/python-langchain.requirements.txt
}

# Apart: it keeps to an older SDK of OpenAI's.
install_llamaindex() { install_python_venv llamaindex test/clients/python-llamaindex.requirements.txt; }

# What reads the schemas of manifests and compose files.
install_deploy_tools() { install_python_venv deploy test/deploy/requirements.txt; }

install_node_frameworks() {
  local source=$tools_repository/test/clients/node-frameworks
  cmp -s "$source/package-lock.json" "$NODE_FRAMEWORKS/installed.json" && return 0
  mkdir -p "$NODE_FRAMEWORKS" && cp "$source"/package*.json "$NODE_FRAMEWORKS" &&
    (cd "$NODE_FRAMEWORKS" && npm ci --no-audit --no-fund) &&
    cp "$source/package-lock.json" "$NODE_FRAMEWORKS/installed.json"
}

# Chromium for browser tests; Prometheus, whose package has promtool, to read metrics and rules.
install_debian_packages() {
  [ -x "$CHROMIUM" ] && command -v promtool >/dev/null && return 0
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  # The lock's timeout: another run on this machine may be installing, too.
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends chromium prometheus &&
    [ -x "$CHROMIUM" ] && command -v promtool >/dev/null
}

# install_tools LOGS: all at once, each with its log; the names of those that failed are printed.
install_tools() {
  local logs=$1 name status=0
  local -A running
  mkdir -p "$CI_TOOLS/bin" "$logs"
  for name in go_tools python_packages llamaindex deploy_tools node_frameworks debian_packages; do
    "install_$name" >"$logs/$name.log" 2>&1 </dev/null &
    running[$name]=$!
  done
  for name in "${!running[@]}"; do
    wait "${running[$name]}" && continue
    status=1
    printf '%s could not be installed:\n' "$name"
    tail -n 15 "$logs/$name.log"
  done
  return "$status"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  install_tools "$logs"
fi
