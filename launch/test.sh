#!/usr/bin/env bash
# Sets up and tests: launch/test.sh [all] [PYTEST ARGUMENTS]. Without `all`, the slow tests are left
# out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=(-m "not slow")
workers=$(getconf _NPROCESSORS_ONLN)
if [[ ${1:-} == all ]]; then
  which=()
  workers=$((workers + 1)) # slow tests wait for a third of their time
  shift
fi
launch/setup.sh
export PATH=$PWD/.venv/bin:$PATH
# Several tests at once, at most four; those of a file stay together, as they share what is costly to make.
exec python -m pytest --quiet --numprocesses="$((workers < 4 ? workers : 4))" --dist=loadfile --no-loadscope-reorder \
  "${which[@]}" "$@"
