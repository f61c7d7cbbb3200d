#!/usr/bin/env bash
# No tracked file holds a secret or names a folder of somebody's machine.
set -u
cd "$(dirname "$0")/.." || exit 1
found=0
look_for() {
  git grep -nIE "$2" -- . ':!package-lock.json' ':!.ci/secrets.sh' || return 0
  echo "^ $1"
  found=1
}
look_for 'a secret' '(sk-[A-Za-z0-9_-]{20,}|gsk_[A-Za-z0-9]{20,}|AIza[0-9A-Za-z_-]{30,}|gh[pousr]_[A-Za-z0-9]{30,})'
look_for 'a private key' 'BEGIN [A-Z ]*PRIVATE KEY'
look_for 'a path of one machine' '(^|[^A-Za-z0-9_.])/(work|root|home/[a-z]+)/'
exit "$found"
