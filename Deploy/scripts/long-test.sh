#!/usr/bin/env bash
# What is too long for every change: conformance, fuzzing under address sanitizer, thread sanitizer, and the crash soak.
#   long-test.sh [MINUTES]        minutes for each fuzz target, 10 by default
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
minutes=${1:-10}
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CORAD_TEST_MODEL=${CORAD_TEST_MODEL:-$root/models/all-MiniLM-L6-v2}

step "release build" "$here/build.sh" "$work/dist"
step "conformance" Tests/Conformance/conformance.sh "$work/dist/corad"
echo "$last_log" | tail -n 1

# A fuzz target is Tests/Fuzz/NAME.swift; its first line `// modules: A B` names the module's sources that it is
# compiled with (in one module, hence without `import`), its corpus is Tests/Fuzz/Corpus/NAME.
fuzz() {
  local target=$1 name sources=() modules module
  name=$(basename "$target" .swift)
  modules=$(sed -n 's,^// modules: ,,p;q' "$target")
  for module in $modules; do
    while IFS= read -r file; do sources+=("$file"); done < <(find "Sources/$module" -name '*.swift' | sort)
  done
  swiftc -O -swift-version 6 -parse-as-library -sanitize=fuzzer,address "${sources[@]}" "$target" -o "$work/$name"
  mkdir -p "$work/corpus-$name"
  "$work/$name" -max_total_time=$((minutes * 60)) -artifact_prefix="$work/" -print_final_stats=1 \
    "$work/corpus-$name" "Tests/Fuzz/Corpus/$name"
}
shopt -s nullglob
targets=(Tests/Fuzz/*.swift)
[ ${#targets[@]} -gt 0 ] || echo "no fuzz targets under Tests/Fuzz yet"
for target in "${targets[@]}"; do step "fuzz $(basename "$target" .swift)" fuzz "$target"; done
step "thread sanitizer" swift test --sanitize=thread --scratch-path .build-thread \
  --filter 'HTTPServerTests|SchedulingTests|StoreTests'
if [ -d Tests/EndToEndTests ]; then
  step "crash soak" env CORAD_SOAK=1 swift test --filter Crash
fi
