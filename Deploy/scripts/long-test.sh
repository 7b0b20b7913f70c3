#!/usr/bin/env bash
# What is too long for every change: conformance, fuzzing under address sanitizer, thread sanitizer, and the crash soak.
#   long-test.sh [MINUTES]        minutes for each fuzz target, 10 by default
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CORAD_TEST_MODEL=${CORAD_TEST_MODEL:-$root/models/all-MiniLM-L6-v2}
step "dependencies" "$here/install-dependencies.sh" --test
step "base model" "$here/fetch-base.sh" "$CORAD_TEST_MODEL"
step "fuzz" "$here/fuzz.sh" "${1:-10}"
echo "$last_log"
step "release build" "$here/build.sh" "$work/dist"
step "conformance" Tests/Conformance/conformance.sh "$work/dist/corad"
echo "$last_log" | tail -n 1
step "thread sanitizer" swift test --sanitize=thread --scratch-path .build-thread --no-parallel \
  --filter 'HTTPServerTests|SchedulingTests|StoreTests'
soak() { CORAD_SOAK=1 swift test --no-parallel --filter 'CrashTests|CrashSoakTests' | tee "$work/soak.log"; }
step "crash soak" soak
grep -A 8 '^crash soak:' "$work/soak.log"
