#!/usr/bin/env bash
# Sets up, with what fuzzing takes, and feeds hostile input to all that reads any: benchmarks/fuzz.sh [--inputs=N].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
.venv/bin/pip install --quiet --constraint launch/constraints.txt --editable ".[fuzz]"
exec .venv/bin/python benchmarks/fuzz.py "$@"
