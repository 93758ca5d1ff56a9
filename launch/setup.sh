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
cache=${DISTGAN_CACHE:-${XDG_CACHE_HOME:-${HOME:-$PWD/.venv}/.cache}/distgan}
log=.venv/setup.log

main() {
  one_at_a_time
  python=$(find_python)
  device=$(find_device)
  horovod=$(find_horovod_options)
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

refuse() {
  echo "distgan: $*" >&2
  exit 2
}

# The lock is on the clone's own directory, so that it leaves no file behind.
one_at_a_time() {
  exec 9<.
  flock --nonblock 9 || { echo "distgan: another set-up is at work here; waiting for it"; flock 9; }
}

# step WHAT COMMAND...: runs it with its output in the log, and says how long it took.
step() {
  local what=$1 began=$SECONDS
  shift
  printf '  %s ... ' "$what"
  if "$@" >>"$log" 2>&1 9<&-; then
    echo "$((SECONDS - began)) s"
  else
    echo failed
    tail -n 20 "$log" | cut -c -200 >&2
    echo "distgan: $what failed; all of its output is in $PWD/$log" >&2
    exit 1
  fi
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
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

find_device() {
  case ${DISTGAN_GPU:-} in
    0) echo cpu ;;
    1) echo gpu ;;
    *) if nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then echo gpu; else echo cpu; fi ;;
  esac
}

# TensorFlow's wheel is made for CUDA 12, and Horovod's kernels must be too.
find_nvcc() {
  local nvcc
  for nvcc in "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" "$(command -v nvcc)" /usr/local/cuda-12*/bin/nvcc; do
    if "$nvcc" --version 2>/dev/null | grep -q 'release 12\.'; then
      realpath "$nvcc"
      return
    fi
  done
}

find_horovod_options() {
  if [[ ${DISTGAN_HOROVOD:-1} == 0 ]]; then return; fi
  local options=gloo
  if [[ ${HOROVOD_WITHOUT_MPI:-0} != 1 ]] && has mpicxx && has mpirun; then options+=+mpi; fi
  if [[ $device == gpu ]]; then options+=+nccl; fi
  echo "$options"
}

has() { command -v "$1" >/dev/null; }

find_compiler() {
  local compiler
  for compiler in ${CXX:-c++ g++ clang++}; do
    if "$compiler" --version >/dev/null 2>&1; then
      command -v "$compiler"
      return
    fi
  done
}

require_build_tools() {
  local missing=()
  [[ $(find_compiler) ]] || missing+=(g++)
  has cmake || missing+=(cmake)
  has make || missing+=(make)
  has patch || has git || missing+=(patch) # either applies our patches
  if [[ ${missing[*]} ]]; then
    refuse "building Horovod needs ${missing[*]}: apt-get install ${missing[*]} (or DISTGAN_HOROVOD=0 to go without it)"
  fi
}

fingerprint() {
  {
    echo "$PWD" "$python" "$(version_of "$python")" "$device" "$horovod"
    cat pyproject.toml launch/constraints.txt launch/setup.sh launch/horovod/*
  } | sha256sum
}

install_horovod() {
  local wheels began=$SECONDS
  wheels=$cache/wheels/$(wheel_key)
  if [[ ! -d $wheels ]]; then
    step "Horovod from source, 2 to 5 minutes" env CXX="$(find_compiler)" NVCC="$(find_nvcc)" \
      launch/horovod/build.sh .venv/bin/python "$horovod" "$cache" "$wheels"
  fi
  step "Horovod from $wheels" pip install --no-deps --force-reinstall "$wheels"/*.whl
}

# All that the binary depends on; readable at its front.
wheel_key() {
  local tensorflow tag
  tensorflow=$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("tensorflow"))')
  tag=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')
  {
    cat launch/horovod/*
    "$(find_compiler)" --version
    if [[ $horovod == *mpi* ]]; then mpirun --version; fi
    if [[ $horovod == *nccl* ]]; then "$(find_nvcc)" --version && grep nccl launch/constraints.txt; fi
  } | sha256sum | { read -r hash _; echo "tensorflow-$tensorflow-$tag-$horovod-${hash:0:12}"; }
}

main
