#!/usr/bin/env bash
# Runs the official OpenAI client against the live daemon.
#   openai.sh BINARY [OPTION...]        options of unittest: -k jobs …
# The Python environment is made once, under ${XDG_CACHE_HOME:-~/.cache}/corad; the base is CORAD_TEST_MODEL or
# models/all-MiniLM-L6-v2.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
CORAD_BINARY=$(realpath "$1")
shift
export CORAD_BINARY CORAD_TEST_MODEL=${CORAD_TEST_MODEL:-$root/models/all-MiniLM-L6-v2}
sum=$(sha256sum "$here/requirements.txt" | cut -c1-12)
venv=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/corad/openai-$sum
if [ ! -e "$venv/complete" ]; then
  mkdir -p "$(dirname "$venv")"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" --disable-pip-version-check -q install -r "$here/requirements.txt"
  touch "$venv/complete"
fi
export PYTHONDONTWRITEBYTECODE=1
cd "$here"
exec "$venv/bin/python" -m unittest client_test "$@"
