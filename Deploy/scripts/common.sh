# Sourced by the scripts beside it: paths, timed steps, children ended by their id.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/corad"

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# step NAME COMMAND...: one line on success with its seconds; the whole log and an end of the script on failure.
step() {
  local name=$1 log started=$SECONDS status=0
  shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$log"
    rm -f "$log"
    echo "FAILED  $name  (exit $status after $((SECONDS - started)) s)"
    exit "$status"
  fi
  last_log=$(tail -n 5 "$log")
  rm -f "$log"
  printf 'ok  %-28s %4d s\n' "$name" "$((SECONDS - started))"
}
