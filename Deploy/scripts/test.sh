#!/usr/bin/env bash
# Everything a change has to pass, in order; stops at the first failure. The test runner's summary comes last.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
export CORAD_TEST_MODEL=${CORAD_TEST_MODEL:-$root/models/all-MiniLM-L6-v2}
step "dependencies" "$here/install-dependencies.sh" --test
step "base model" "$here/fetch-base.sh" "$CORAD_TEST_MODEL"
parse() { local file; for file in "$@"; do bash -n "$file" || return; done; }
step "scripts parse" parse "$here"/*.sh Tests/Benchmarks/*.sh Tests/Conformance/*.sh Tests/OpenAI/*.sh \
  .ci/run
step "format" swift format lint --strict -r Package.swift Sources Tests
step "python compiles" env PYTHONPYCACHEPREFIX="${TMPDIR:-/tmp}/corad-pycache" \
  python3 -m compileall -q Tests/Benchmarks Tests/Conformance Tests/Fuzz Tests/Goldens Tests/OpenAI Deploy/scripts
step "fuzz corpora" "$here/fuzz.sh"
step "build" swift build --build-tests
# A tenth of what long-test.sh asks.
step "conformance" Tests/Conformance/conformance.sh "$(swift build --show-bin-path)/corad" --examples 20 --seeds 1
step "openai client" Tests/OpenAI/openai.sh "$(swift build --show-bin-path)/corad"
# One test at a time: servers, real models and child processes share two cores.
step "tests" swift test --skip-build --no-parallel
summary=$last_log
step "deploy" "$here/check-deploy.py" --model "$CORAD_TEST_MODEL"
echo "$summary"
