#!/usr/bin/env bash
# The contract still takes and gives what it did: on a branch since it left main, on main since the contract last changed.
set -eu
cd "$(dirname "$0")/.."
contract=proto/llmgateway
base=''
for main in origin/main main; do
  base=$(git merge-base "$main" HEAD 2>/dev/null) && break
done
if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
  # The commit before the last one that touched it. A shallow clone may not reach so far.
  base=$(git rev-list -1 HEAD -- "$contract")
  base=$(git rev-parse --verify --quiet "$base^" || true)
fi
if [ -z "$base" ] || [ -z "$(git ls-tree "$base" "$contract")" ]; then
  echo 'nothing to compare with: the first contract'
  exit
fi
earlier=$(mktemp -d)
trap 'rm -rf "$earlier"' EXIT
git archive "$base" proto buf.yaml | tar -x -C "$earlier"
buf breaking --against "$earlier"
echo "nothing broken since $base"
