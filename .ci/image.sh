#!/usr/bin/env bash
# Follows the Dockerfile by hand in an empty folder, as there may be no container engine: the build stage's COPY and RUN lines,
# what .dockerignore lets through, and then the command and the health check of the runtime stage, as a user without rights, in a
# tree that nobody can write to. It starts, answers, says that it is well, and drains.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$repository/test/clients/gateway.sh"
image=$temporary/image
mkdir -p "$image"

runs_as_nonroot() { grep -qE '^FROM \S+:nonroot$' "$repository/Dockerfile"; }
runs_as_nonroot || { echo 'the last stage does not run as nonroot'; exit 1; }

allowed=$(sed -n 's/^!//p' "$repository/.dockerignore")
while read -r instruction rest; do
  case $instruction in
    COPY)
      case $rest in --from=*) continue ;; esac
      read -ra words <<<"$rest"
      target=${words[-1]}
      for source in "${words[@]::${#words[@]}-1}"; do
        grep -qxF -- "$source" <<<"$allowed" || { echo ".dockerignore holds back $source"; exit 1; }
        git -C "$repository" ls-files --error-unmatch "$source" >/dev/null || { echo "COPY of $source: not in the repository"; exit 1; }
        cp -r "$repository/$source" "$image/$target"
      done
      ;;
    RUN) (cd "$image" && bash -c "$rest") ;;
  esac
done <"$repository/Dockerfile"
[ ! -e "$image/node_modules/.bin/node" ] || { echo 'the image brings a second Node'; exit 1; }

# words_of PATTERN: the words of the line `PATTERN ["a", "b"]`.
words_of() { sed -nE "s/^$1 \[(.*)\]$/\1/p" "$repository/Dockerfile" | tr -d '",'; }
read -ra command < <(words_of CMD)
read -ra health < <(words_of 'HEALTHCHECK .* CMD')

# As in the image: a tree that nobody can write to, and a user of no rights, where this one may become another.
cp -L "$repository/node_modules/.bin/node" "$temporary/node"
chmod 755 "$temporary"
chmod -R a+rX,a-w "$image"
nobody=65532 as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv "--reuid=$nobody" "--regid=$nobody" --clear-groups --no-new-privs)
touch "$temporary/begun"
port=$(free_port)
gateway=http://127.0.0.1:$port
# To be run in a subshell, which becomes the process.
become_node() {
  cd "$image" &&
    exec env -i NODE_ENV=production PORT="$port" HOST=127.0.0.1 ENABLE_OLLAMA=false \
      OTEL_METRICS_EXPORTER=prometheus OTEL_EXPORTER_PROMETHEUS_PORT="$(free_port)" "${as_nobody[@]}" "$temporary/node" "$@"
}
healthy() { (become_node "${health[@]:1}"); }
fail() {
  echo "$1:"
  tail -n 20 "$temporary/image.log"
  exit 1
}
status_of() { curl -s -o "$temporary/answer" -m 5 -w '%{http_code}' "$@"; }
chat() { curl -sN -m 30 "$gateway/v1/chat/completions" -H 'content-type: application/json' -d "$1"; }

if healthy; then echo 'the health check is content with nothing'; exit 1; fi
(become_node "${command[@]}") >"$temporary/image.log" 2>&1 &
serving=$!
trap 'status=$?; kill "$serving" 2>/dev/null || true; chmod -R u+w "$temporary"; rm -rf "$temporary"; exit "$status"' EXIT
for _ in $(seq 40); do
  ! healthy || break
  sleep 0.1
done
healthy || fail 'the health check failed'

chat '{"model":"auto","messages":[{"role":"user","content":"hi"}]}' >"$temporary/answer"
grep -q '"finish_reason":"stop"' "$temporary/answer" || fail 'no answer'
[ "$(status_of "$gateway/health")" = 200 ] || fail '/health did not answer'
[ "$(status_of -H 'accept: text/plain' "$gateway/metrics")" = 200 ] || fail '/metrics did not answer'

# A stream that takes some seconds, and the order to end while it runs: it is finished, nothing new is begun, and the process ends
# within the time that the manifests give it.
chat '{"model":"auto","stream":true,"n":30,"messages":[{"role":"user","content":"hi"}]}' >"$temporary/stream" &
streaming=$!
sleep 0.5
[ -s "$temporary/stream" ] || fail 'no stream'
begun=$(milliseconds)
kill -TERM "$serving"
sleep 0.2
[ "$(status_of "$gateway/readyz")" = 503 ] || fail 'it did not say that it drains'
wait "$streaming" || true
grep -q '^data: \[DONE\]' "$temporary/stream" || fail 'the stream was cut off'
wait "$serving" || fail 'it did not end by itself'
grace=$(sed -nE 's/^ *terminationGracePeriodSeconds: ([0-9]+)$/\1/p' "$repository/deploy/kubernetes/base/deployment.yaml")
took=$(($(milliseconds) - begun))
[ "$took" -lt $((grace * 1000)) ] || fail "it took $took ms to end, of $grace s"
written=$(find "$image" "${TMPDIR:-/tmp}" -xdev -newer "$temporary/begun" -user "$nobody" 2>/dev/null | head -n 3 || true)
[ "$(id -u)" != 0 ] || [ -z "$written" ] || fail "it wrote $written"
echo "the image serves and drained in $took ms; $(du -sm "$image" | cut -f1) MB"
