#!/usr/bin/env bash
# Sets distgan up in .venv: pinned dependencies, distgan itself, and Horovod built from its source
# release for them. What is there already is kept.
#
#   PYTHON=...         the interpreter; otherwise the first that works of .venv's own, python3.11,
#                      3.12, 3.13, python3 and pyenv's
#   DISTGAN_HOROVOD=0  without Horovod: everything but --backend=horovod works
#   DISTGAN_GPU=0|1    CPU or CUDA flavour, whatever this machine has
#   DISTGAN_CACHE=DIR  where built wheels are kept, ~/.cache/distgan by default
#   HOROVOD_WITHOUT_MPI=1  leaves an MPI aside
#   CXX=g++-13         the compiler, of C++ and behind nvcc, which refuses newer ones than it knows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=distgan/horovod_build/install.sh
. distgan/horovod_build/install.sh
environment_python=.venv/bin/python log=$PWD/.venv/setup.log
go_without="or DISTGAN_HOROVOD=0 to go without it"

main() {
  one_at_a_time
  python=$(find_python)
  device=$(find_device)
  horovod=$([[ ${DISTGAN_HOROVOD:-1} == 0 ]] || find_horovod_options)
  if [[ $horovod == *nccl* && ! $(find_nvcc) ]]; then
    echo "distgan: there is no nvcc of CUDA 12, so Horovod is left out; install the CUDA toolkit (12.5 to 12.9) and run this again to have it"
    horovod=
  fi
  local inputs
  inputs=$(fingerprint)
  if [[ $(cat .venv/inputs 2>/dev/null) == "$inputs" ]] && venv_works; then
    echo "distgan: .venv is up to date"
    return
  fi
  if [[ $horovod ]]; then require_build_tools; fi
  echo "distgan: Python $(version_of "$python"), $device, Horovod ${horovod:-left out}"
  if ! venv_works; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
      refuse "$python has no venv module: apt-get install python$(minor_of "$python")-venv"
    rm -rf .venv && mkdir .venv
    step "virtual environment" "$python" -m venv .venv
  fi
  rm -f .venv/inputs
  step "dependencies" pip install --constraint launch/constraints.txt --editable ".[test,horovod$([[ $device == gpu ]] && echo ,gpu)]"
  if [[ $horovod ]]; then install_horovod; else pip uninstall --yes horovod >>"$log" 2>&1; fi
  echo "$inputs" >.venv/inputs
  echo "distgan: .venv is ready after $SECONDS s"
}

# The lock is on the clone's own directory, so that it leaves no file behind.
one_at_a_time() {
  exec 9<.
  flock --nonblock 9 || { echo "distgan: another set-up is at work here; waiting for it"; flock 9; }
}

version_of() { "$1" -c 'import platform; print(platform.python_version())'; }
minor_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# A name on PATH may be a pyenv shim that only says "command not found", so each candidate is run.
# What is found is the interpreter itself, behind shims, links and virtual environments.
find_python() {
  local candidate
  if [[ ${PYTHON:-} ]]; then
    works "$PYTHON" || refuse "Python 3.11, 3.12 or 3.13 is needed, and PYTHON=$PYTHON is $(version_of "$PYTHON" 2>/dev/null || echo 'none that runs')"
    interpreter_behind "$PYTHON"
    return
  fi
  for candidate in .venv/bin/python python3.11 python3.12 python3.13 python3 $(pyenv_pythons); do
    if works "$candidate"; then
      interpreter_behind "$candidate"
      return
    fi
  done
  refuse "Python 3.11, 3.12 or 3.13 is needed, and there is none: apt-get install $(python_packages) (or name one with PYTHON=/path/to/python)"
}

works() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }
interpreter_behind() { realpath "$("$1" -c 'import sys; print(sys.executable)')"; }
pyenv_pythons() {
  if has pyenv; then compgen -G "$(pyenv root)/versions/3.1[123].*/bin/python" || true; fi
}
python_packages() {
  local version
  for version in 3.11 3.12 3.13; do
    if apt-cache show "python$version" >/dev/null 2>&1; then break; fi
    version=3
  done
  echo "python$version python$version-venv"
}

venv_works() {
  [[ $(realpath -q .venv/bin/python) == "$python" ]] && .venv/bin/python -c '' 2>/dev/null &&
    grep -qF "$PWD/.venv" .venv/bin/activate # a clone that was moved has scripts that point elsewhere
}

fingerprint() {
  {
    echo "$PWD" "$python" "$(version_of "$python")" "$device" "$horovod"
    cat pyproject.toml launch/constraints.txt launch/setup.sh distgan/horovod_build/*
  } | sha256sum
}

main
