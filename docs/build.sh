#!/usr/bin/env bash
# Sets up, with what the documentation site takes, and builds it into site/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
.venv/bin/pip install --quiet --constraint launch/constraints.txt --editable ".[docs]"
NO_MKDOCS_2_WARNING=1 exec .venv/bin/mkdocs build --strict --quiet
