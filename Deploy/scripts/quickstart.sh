#!/usr/bin/env bash
# From a clone to a trained task's answers: build, serve on a socket of its own, train, infer, measure.
#   quickstart.sh [--task NAME]        a task of Tests/Benchmarks/data/tasks.json, sections-desktop by default
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
task=sections-desktop
[ "${1:-}" != --task ] || task=$2
cd "$root"
work=$(mktemp -d)
daemon=
finish() {
  if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
    kill -TERM "$daemon"
    wait "$daemon" || true
  fi
  rm -rf "$work"
}
trap finish EXIT
model=$root/models/all-MiniLM-L6-v2
data=$cache/package-index

step "dependencies" "$here/install-dependencies.sh" --python
step "build" "$here/build.sh" "$root/dist"
corad=$root/dist/corad
step "base model" "$here/fetch-base.sh" "$model"
step "examples" python3 Tests/Benchmarks/data/package_index.py --to "$data"

started=$SECONDS
"$corad" serve --model "$model" --store "$work/corad.sqlite" --listen 127.0.0.1:0 \
  >"$work/ready" 2>"$work/log" &
daemon=$!
until grep -q '^listening on ' "$work/ready"; do
  kill -0 "$daemon" 2>/dev/null || { cat "$work/log"; fail "the daemon ended"; }
  [ $((SECONDS - started)) -lt 300 ] || { cat "$work/log"; fail "the daemon is not ready after 300 s"; }
  sleep 0.2
done
url=$(sed -n 's/^listening on //p' "$work/ready" | head -n 1)
printf 'ok  %-28s %4d s\n' "serve" "$((SECONDS - started))"

started=$SECONDS
"$corad" train "$task" --url "$url" --data "$data/tasks/$task/train.ndjson" --wait
printf 'ok  %-28s %4d s\n' "train" "$((SECONDS - started))"

started=$SECONDS
"$corad" infer "$task" --url "$url" "vector drawing program" "first person shooter" "MIDI sequencer"
python3 "$here/held-out-accuracy.py" "$url" "$task" "$data/tasks/$task/heldout.ndjson"
printf 'ok  %-28s %4d s\n' "infer" "$((SECONDS - started))"
