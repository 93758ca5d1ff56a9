#!/usr/bin/env bash
# Sets up and measures images per second by number of processes and backend.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
export PATH=$PWD/.venv/bin:$PATH
exec python benchmarks/scaling.py "$@"
