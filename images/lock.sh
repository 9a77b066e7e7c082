#!/usr/bin/env bash
# Resolve each image's dependencies and pin them by hash, with pip-tools (pip install pip-tools): images/lock.sh
# The CPU variants want PyTorch's CPU index in PIP_EXTRA_INDEX_URL; the others must not have it.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {
  local out=$1
  shift
  pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
    --output-file "images/$out" "$@" pyproject.toml
  # The project itself, which its extras name, is installed from the source.
  sed -i '/^selfemo @ /,/^[^ ]/{/^selfemo @ /d;/^ /d}' "images/$out"
}
extras() { for extra in "$@"; do printf -- '--extra %s ' "$extra"; done; }
# shellcheck disable=SC2046  # flags are words
if [ "${1:-}" = cpu ]; then
  lock generation/requirements-cpu.txt --constraint constraints.txt $(extras policy pipeline serve data demo)
  lock training/requirements-cpu.txt --constraint constraints.txt $(extras training deepspeed pipeline demo)
else
  lock pipeline/requirements.txt --constraint constraints.txt $(extras plots cluster pipeline server)
  lock training/requirements.txt --constraint constraints.txt $(extras training deepspeed pipeline)
  lock generation/requirements.txt $(extras policy vllm pipeline serve data) # vLLM pins a torch of its own
fi
