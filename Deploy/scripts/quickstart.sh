#!/usr/bin/env bash
# From a clone to a trained task's answers: build, serve on a port of its own, train, infer, measure.
#   quickstart.sh [--task NAME]        a task of Tests/Benchmarks/data/tasks.json, sections-desktop by default
# Nothing is installed but packages that the build needs (by apt-get, as root or with sudo); nothing is left running.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
task=sections-desktop
while [ $# -gt 0 ]; do
  case $1 in
    --task) [ $# -gt 1 ] || fail "--task needs a name"; task=$2; shift ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] && exit 0; exit 2 ;;
  esac
  shift
done
cd "$root"
begun=$SECONDS
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
trap 'exit 130' INT TERM
model=$root/models/all-MiniLM-L6-v2
data=$cache/package-index

# In the open, because sudo may ask for a password.
started=$SECONDS
"$here/install-dependencies.sh" --python
done_line "dependencies" "$started"
step "build" "$here/build.sh" "$root/dist"
corad=$root/dist/corad
step "base model" "$here/fetch-base.sh" "$model"
step "examples" python3 Tests/Benchmarks/data/package_index.py --to "$data"
rows=$data/tasks/$task
[ -f "$rows/train.ndjson" ] || fail "no task $task; there are: $(cd "$data/tasks" && echo *)"

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
done_line "serve" "$started"

started=$SECONDS
echo "    $(wc -l <"$rows/train.ndjson") descriptions of packages, such as"
head -n 3 "$rows/train.ndjson" | sed 's/^/      /'
"$corad" train "$task" --url "$url" --data "$rows/train.ndjson" --wait || { cat "$work/log"; fail "no version"; }
done_line "train" "$started"

started=$SECONDS
"$corad" infer "$task" --url "$url" "vector drawing program" "first person shooter" "MIDI sequencer"
python3 "$here/held-out-accuracy.py" "$url" "$task" "$rows/heldout.ndjson"
done_line "infer" "$started"

started=$SECONDS
kill -TERM "$daemon"
wait "$daemon" || { cat "$work/log"; fail "the daemon did not end in order"; }
daemon=
done_line "stop" "$started"
done_line "all" "$begun"
cat <<END

Your own, in $root:
          dist/corad serve --model models/all-MiniLM-L6-v2 --store tasks.sqlite
          dist/corad train NAME --data ROWS.ndjson --wait     rows of {"text": …, "label": …}
          dist/corad infer NAME "a text"
END
