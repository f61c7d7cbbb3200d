# Sourced by the checks in bash: runs a command and looks at what it prints.
#
#   expect TITLE PATTERN COMMAND...     it succeeds, and its output holds the pattern (grep -P, over all lines at once)
#   refuse TITLE PATTERN COMMAND...     it fails, and its output holds the pattern
judge() {
  local due=$1 title=$2 pattern=$3 output ended
  shift 3
  output=$("$@" 2>&1 </dev/null) && ended=0 || ended=1
  if [ "$ended" = "$due" ] && grep -qzP -- "$pattern" <<<"$output"; then
    echo "$title"
    return
  fi
  printf '%s: expected code %s and /%s/, got code %s and\n%s\n' "$title" "$due" "$pattern" "$ended" "$output"
  exit 1
}
expect() { judge 0 "$@"; }
refuse() { judge 1 "$@"; }
