#!/usr/bin/env bash
# The README's curl and grpcurl lines answer as they stand there. Where port 8080 is taken, another one stands in for it.
set -u
. "$(dirname "$0")/../test/clients/gateway.sh"
curl -s -o "$temporary/taken" -m 1 http://127.0.0.1:8080/ || [ $? != 7 ] || GATEWAY_PORT=8080
start_gateway || exit 1
cd "$repository" || exit 1

# The commands of the fenced blocks, each on one line.
commands() {
  sed -n '/^```\(bash\|sh\|console\)$/,/^```$/p' README.md | grep -v '^```' |
    sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' | sed 's/^\$ //' | grep -E '^(curl|grpcurl) '
}

for tool in curl grpcurl; do
  commands | grep -q "^$tool " || { echo "the README has no $tool line"; exit 1; }
done
failed=0
while read -r line; do
  line=${line//localhost:8080/${GATEWAY_URL#http://}}
  echo "\$ $line"
  # A stream ends by itself; a refusal is told in the answer.
  answer=$(timeout 60 bash -c "$line" 2>&1 </dev/null) || failed=1
  echo "$answer"
  case $answer in '' | *'"error"'* | *ERROR:*) failed=1 ;; esac
done < <(commands)
exit "$failed"
