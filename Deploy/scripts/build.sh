#!/usr/bin/env bash
# Release build: one binary at PREFIX/corad.
#   build.sh [--static-swift-stdlib] [--scratch-path DIR] [PREFIX]      PREFIX defaults to dist/
# Beside it go the resource bundles of the modules that have any; the binary looks for them there.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
options=(-c release --product corad)
prefix=$root/dist
while [ $# -gt 0 ]; do
  case $1 in
    --static-swift-stdlib) options+=(--static-swift-stdlib) ;;
    --scratch-path) options+=(--scratch-path "$2"); shift ;;
    -*) fail "unknown option $1" ;;
    *) prefix=$1 ;;
  esac
  shift
done
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
cd "$root"
swift build "${options[@]}"
from=$(swift build "${options[@]}" --show-bin-path)
install -m 755 "$from/corad" "$prefix/corad"
for bundle in "$from"/corad_*.resources; do
  [ -d "$bundle" ] || continue
  rm -rf "${prefix:?}/$(basename "$bundle")"
  cp -R "$bundle" "$prefix/"
done
echo "$prefix/corad"
