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
exec python -m pytest "${which[@]}" "$@"
