#!/usr/bin/env bash
# Holds the live daemon to openapi.yaml: the contract is valid OpenAPI, and schemathesis finds no answer outside it.
#   conformance.sh BINARY [OPTION...]        options of conformance.py: --examples 200 --seeds 1 2 3 …
# The Python environment is made once, under ${XDG_CACHE_HOME:-~/.cache}/corad; the base is CORAD_TEST_MODEL or
# models/all-MiniLM-L6-v2.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
binary=$(realpath "$1")
shift
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/corad
sum=$(sha256sum "$here/requirements.txt" | cut -c1-12)
venv=$cache/conformance-$sum
if [ ! -e "$venv/complete" ]; then
  mkdir -p "$cache"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" --disable-pip-version-check -q install -r "$here/requirements.txt"
  touch "$venv/complete"
fi
export PYTHONDONTWRITEBYTECODE=1
"$venv/bin/openapi-spec-validator" --validation-errors all "$root/openapi.yaml"
exec "$venv/bin/python" "$here/conformance.py" --binary "$binary" \
  --model "${CORAD_TEST_MODEL:-$root/models/all-MiniLM-L6-v2}" \
  --logs "${CORAD_CONFORMANCE_LOGS:-$cache/conformance-logs}" "$@"
