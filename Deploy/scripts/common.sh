# Sourced by the scripts beside it: paths, timed steps, children ended by their id.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/corad"

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# done_line NAME STARTED: the line of a step that went well.
done_line() { printf 'ok  %-28s %4d s\n' "$1" "$((SECONDS - $2))"; }

# tick NAME LOG STARTED: a live line until it is killed or the script has ended.
tick() {
  local width
  width=$(($(stty size <&1 2>/dev/null | cut -d ' ' -f 2 || true) + 0))
  [ "$width" -gt 50 ] || width=80
  while kill -0 $$ 2>/dev/null; do
    printf '\r\033[K..  %-28s %4d s  %s' "$1" "$((SECONDS - $3))" \
      "$(tail -n 1 "$2" 2>/dev/null | tr -cd '[:print:]' | cut -c "1-$((width - 42))")"
    sleep 0.5
  done
}

# step NAME COMMAND...: one line on success with its seconds; the whole log and an end of the script on failure. On a
# terminal the line shows, until then, the seconds and what the command wrote last.
step() {
  local name=$1 log started=$SECONDS status=0 ticker=
  shift
  log=$(mktemp)
  if [ -t 1 ]; then
    tick "$name" "$log" "$started" &
    ticker=$!
  fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ -n "$ticker" ]; then
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    printf '\r\033[K'
  fi
  if [ "$status" -ne 0 ]; then
    cat "$log"
    rm -f "$log"
    echo "FAILED  $name  (exit $status after $((SECONDS - started)) s)"
    exit "$status"
  fi
  last_log=$(tail -n 5 "$log")
  rm -f "$log"
  done_line "$name" "$started"
}
