#!/usr/bin/env bash
# Sets up, with what a release takes, builds the source release and the wheel into dist/, and checks both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -x .venv/bin/python ]] || export DISTGAN_HOROVOD=0 # a new .venv takes no compiler
launch/setup.sh
.venv/bin/pip install --quiet --constraint launch/constraints.txt --editable ".[dist]"
rm -rf build dist # what was built before would be taken along
.venv/bin/python -m build
.venv/bin/twine check --strict dist/*
.venv/bin/check-wheel-contents dist/*.whl
