#!/usr/bin/env bash
# Removes what set-up and tests made. Runs and the wheel cache outside the clone stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf .venv build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache
find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +
