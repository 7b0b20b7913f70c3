#!/usr/bin/env bash
# Fuzz targets under address sanitizer: replays the committed corpora, or goes on from them for a while.
#   fuzz.sh                    replays
#   fuzz.sh MINUTES [NAME]     fuzzes each target, or one, for so long
#
# A target is Tests/Fuzz/NAME.swift. Its first line `// modules: A B` names the modules whose sources are compiled with
# it, in one module, so that the sanitizers see them. Its corpus is Tests/Fuzz/Corpus/NAME.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
minutes=${1:-0}
only=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fuzz() {
  local name=$1 sources=() module digest started=$SECONDS options=(-runs=0)
  for module in $(sed -n 's,^// modules: ,,p;q' "Tests/Fuzz/$name.swift"); do
    while IFS= read -r file; do sources+=("$file"); done < <(find "Sources/$module" -name '*.swift' | sort)
  done
  sources+=("Tests/Fuzz/$name.swift")
  digest=$(cat "${sources[@]}" | sha256sum | cut -c1-16)
  # The linker warns of every symbol that the sanitizer keeps to itself.
  swiftc -O -swift-version 6 -parse-as-library -sanitize=fuzzer,address "${sources[@]}" -o "$work/$name" \
    >"$work/log" 2>&1 || { cat "$work/log"; fail "$name does not build"; }
  mkdir -p "$work/new-$name"
  if [ "$minutes" -gt 0 ]; then
    options=(-max_total_time=$((minutes * 60)) -max_len=4096)
    started=$SECONDS
  fi
  if ! "$work/$name" "${options[@]}" -artifact_prefix="${TMPDIR:-/tmp}/$name-" -print_final_stats=1 \
    "$work/new-$name" "Tests/Fuzz/Corpus/$name" >"$work/log" 2>&1; then
    cat "$work/log"
    fail "$name found a fault; its input is ${TMPDIR:-/tmp}/$name-*"
  fi
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") inputs in $((SECONDS - started)) s," \
    "no finding, sources $digest"
}

for target in Tests/Fuzz/*.swift; do
  name=$(basename "$target" .swift)
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  fuzz "$name"
done
