#!/usr/bin/env bash
# Sets up and tests: launch/test.sh [all] [PYTEST ARGUMENTS]. Without `all`, the slow tests are left
# out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=(-m "not slow")
if [[ ${1:-} == all ]]; then
  which=()
  shift
fi
launch/setup.sh
export PATH=$PWD/.venv/bin:$PATH
# Two tests at once, where there are two cores; those of a file stay together, as they share what is costly to make.
exec python -m pytest --quiet --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
  "${which[@]}" "$@"
