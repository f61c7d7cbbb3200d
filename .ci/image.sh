#!/usr/bin/env bash
# Follows the Dockerfile by hand in an empty folder, as there may be no container engine: the build stage's COPY and RUN lines,
# what .dockerignore lets through, and then the command and the health check of the runtime stage.
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
node=$repository/node_modules/.bin/node
port=$(free_port)
# To be run in a subshell, which becomes the process.
become_node() { cd "$image" && exec env -i NODE_ENV=production PORT="$port" HOST=127.0.0.1 ENABLE_OLLAMA=false "$node" "$@"; }

if (become_node "${health[@]:1}"); then echo 'the health check is content with nothing'; exit 1; fi
become_node "${command[@]}" >"$temporary/image.log" 2>&1 &
serving=$!
trap 'status=$?; kill "$serving" 2>/dev/null || true; rm -rf "$temporary"; exit "$status"' EXIT
for _ in $(seq 40); do
  if (become_node "${health[@]:1}"); then
    kill -TERM "$serving"
    wait "$serving"
    echo "the image would serve; $(du -sm "$image" | cut -f1) MB"
    exit
  fi
  sleep 0.1
done
echo 'the health check failed:'
tail -n 20 "$temporary/image.log"
exit 1
