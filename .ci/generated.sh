#!/usr/bin/env bash
# gen/ is what `npm run generate` makes of proto/.
set -eu
cd "$(dirname "$0")/.."
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -r gen "$before/gen"
npm run generate
diff -r "$before/gen" gen && echo 'gen/ is current'
