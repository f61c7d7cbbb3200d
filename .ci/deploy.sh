#!/usr/bin/env bash
# What is in deploy/ is valid: rules and their tests by promtool, manifests and compose file by their schemas, configurations by the
# gateway itself. Needs the tools of .ci/tools.sh. What no tool here can tell: whether images exist, and whether it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/rules_test.yml
# The dashboard's expressions, as rules: promtool reads what is valid PromQL.
node test/deploy/dashboard-rules.ts >"$temporary/dashboard.json"
promtool check rules "$temporary/dashboard.json"

for folder in base overlays/redis; do
  kustomize build "deploy/kubernetes/$folder" >"$temporary/${folder##*/}.yaml"
  "$DEPLOY_TOOLS/kubernetes-validate" --strict "$temporary/${folder##*/}.yaml"
done
"$DEPLOY_TOOLS/kubernetes-validate" --strict deploy/kubernetes/secret.example.yaml

"$DEPLOY_TOOLS/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml

for file in deploy/compose/gateway.yaml deploy/kubernetes/*/gateway.yaml deploy/kubernetes/*/*/gateway.yaml; do
  env -i PATH="$PATH" node src/main.ts check "$file" >/dev/null
  echo "$file is a configuration"
done
