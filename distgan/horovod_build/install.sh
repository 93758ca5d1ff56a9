#!/usr/bin/env bash
# install.sh PYTHON: builds Horovod for the TensorFlow that PYTHON has, and installs it there. This is `distgan
# build-horovod`; launch/setup.sh uses its functions.
#
#   DISTGAN_GPU=0|1    CPU or CUDA flavour, whatever this machine has
#   DISTGAN_CACHE=DIR  where built wheels are kept, ~/.cache/distgan by default
#   HOROVOD_WITHOUT_MPI=1  leaves an MPI aside
#   CXX=g++-13         the compiler, of C++ and behind nvcc, which refuses newer ones than it knows
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DISTGAN_CACHE:-${XDG_CACHE_HOME:-${HOME:-$PWD/.venv}/.cache}/distgan}
go_without="or use distgan launch, which needs no Horovod"

build_for() {
  environment_python=$1 log=$cache/build-horovod.log
  device=$(find_device)
  horovod=$(find_horovod_options)
  if [[ $horovod == *nccl* && ! $(find_nvcc) ]]; then
    refuse "building Horovod for GPUs needs nvcc of CUDA 12: install the CUDA toolkit (12.5 to 12.9; $go_without)"
  fi
  if [[ $horovod == *nccl* && ! $(installed nvidia-nccl-cu12) ]]; then
    refuse "building Horovod for GPUs needs NCCL: pip install 'distgan[gpu]' (or DISTGAN_GPU=0 to build it for CPUs)"
  fi
  require_build_tools
  mkdir -p "$cache"
  echo "distgan: Horovod $horovod, for $environment_python"
  step "dependencies" pip install 'distgan[horovod]'
  install_horovod
}

refuse() {
  echo "distgan: $*" >&2
  exit 2
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
    echo "distgan: $what failed; all of its output is in $log" >&2
    exit 1
  fi
}

pip() { "$environment_python" -m pip --disable-pip-version-check --no-input "$@"; }
has() { command -v "$1" >/dev/null; }

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
  local options=gloo
  if [[ ${HOROVOD_WITHOUT_MPI:-0} != 1 ]] && has mpicxx && has mpirun; then options+=+mpi; fi
  if [[ $device == gpu ]]; then options+=+nccl; fi
  echo "$options"
}

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
    refuse "building Horovod needs ${missing[*]}: apt-get install ${missing[*]} ($go_without)"
  fi
}

install_horovod() {
  local wheels
  wheels=$cache/wheels/$(wheel_key)
  if [[ ! -d $wheels ]]; then
    step "Horovod from source, 2 to 5 minutes" env CXX="$(find_compiler)" NVCC="$(find_nvcc)" \
      bash "$recipe/build.sh" "$environment_python" "$horovod" "$cache" "$wheels"
  fi
  step "Horovod from $wheels" pip install --no-deps --force-reinstall "$wheels"/*.whl
}

# All that the binary depends on; readable at its front.
wheel_key() {
  local tag
  tag=$("$environment_python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')
  {
    cat "$recipe"/*.patch "$recipe/build.sh"
    "$(find_compiler)" --version
    if [[ $horovod == *mpi* ]]; then mpirun --version; fi
    if [[ $horovod == *nccl* ]]; then "$(find_nvcc)" --version && installed nvidia-nccl-cu12; fi
  } | sha256sum | { read -r hash _; echo "tensorflow-$(installed tensorflow)-$tag-$horovod-${hash:0:12}"; }
}

# The version of an installed package; nothing if there is none.
installed() { "$environment_python" -c "import importlib.metadata as m; print(m.version('$1'))" 2>/dev/null; }

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then build_for "$1"; fi
