#!/usr/bin/env bash
# build.sh PYTHON OPTIONS CACHE TARGET: builds Horovod's wheel from its source release, for the
# TensorFlow that PYTHON has. OPTIONS is gloo with +mpi, +nccl. The directory TARGET, in CACHE,
# appears with a wheel that was tried, or not at all; two builds at once do not meet.
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") options=$2 cache=$3 target=$4
patches=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
release=horovod-0.28.1
sha256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0
archive=$cache/source/$release.tar.gz

main() {
  mkdir -p "$cache/source" "$(dirname "$target")"
  work=$(mktemp -d "$cache/building.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  is_sound "$archive" || fetch
  tar -xzf "$archive" -C "$work"
  cd "$work/$release"
  for patch in "$patches"/*.patch; do
    [[ $patch == */3-* ]] || apply "$patch" # that one is for GPUs
  done
  echo "GLOO, MPI = True, $([[ $options == *mpi* ]] && echo True || echo False)" >horovod/common/built_with.py
  configure
  "$python" -m pip wheel --verbose --no-deps --no-build-isolation --wheel-dir "$work/wheel" .
  try "$work"/wheel/*.whl
  # A directory is renamed onto a full one by nobody: who comes second takes the first one's.
  mv --no-target-directory "$work/wheel" "$target" || [[ -d $target ]]
}

is_sound() { [[ -f $1 ]] && sha256sum --check --quiet <<<"$sha256  $1"; }

fetch() {
  "$python" -m pip download --no-deps --no-build-isolation --no-binary :all: --dest "$work" "${release/-/==}"
  is_sound "$work/$release.tar.gz"
  mv "$work/$release.tar.gz" "$archive"
}

apply() {
  if command -v patch >/dev/null; then patch -p1 <"$1"; else GIT_DIR=/dev/null git apply "$1"; fi
}

configure() {
  export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
  export HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1
  export CMAKE_POLICY_VERSION_MINIMUM=3.5 # CMake 4 refuses older policies, which Horovod asks for
  # Gloo forgets the first and Horovod's code for GPUs the second, which from GCC 13 on is noticed.
  export CXXFLAGS="-include cstdint -include stdexcept ${CXXFLAGS:-}"
  MAKEFLAGS=-j$(jobs_that_fit)
  export MAKEFLAGS
  export PATH=${python%/*}:$PATH # CMake finds TensorFlow through this python
  if [[ $options == *mpi* ]]; then
    unset HOROVOD_WITHOUT_MPI
    export HOROVOD_WITH_MPI=1
  fi
  if [[ $options == *nccl* ]]; then configure_cuda; fi
}

# No machine with a GPU was at hand: this was compiled and linked, with CUDA 12.4, but never run.
configure_cuda() {
  local nccl
  apply "$patches"/3-*.patch
  nccl=$("$python" -c 'import nvidia.nccl as nccl; print(list(nccl.__path__)[0])')
  # NVIDIA's wheel has no libnccl.so, the name that the linker looks for.
  mkdir "$work/nccl"
  ln -s "$nccl/lib/libnccl.so.2" "$work/nccl/libnccl.so"
  export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED
  export HOROVOD_NCCL_INCLUDE=$nccl/include HOROVOD_NCCL_LIB=$work/nccl
  export HOROVOD_CUDA_HOME=${NVCC%/bin/nvcc} CUDAToolkit_ROOT=${NVCC%/bin/nvcc}
  export PATH=${NVCC%/nvcc}:$PATH
  if [[ ${CXX:-} ]]; then export CUDAHOSTCXX=${CUDAHOSTCXX:-$CXX}; fi # a CUDA knows compilers up to its own age
  # shellcheck disable=SC2016  # $ORIGIN is the dynamic linker's
  export LDFLAGS='-Wl,-rpath,$ORIGIN/../../nvidia/nccl/lib'
  export LD_LIBRARY_PATH=$nccl/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # for `try`, elsewhere
}

# A compiler on TensorFlow's headers takes up to 2 GB.
jobs_that_fit() {
  local cores gigabytes
  cores=$(nproc)
  gigabytes=$(awk '/^MemAvailable/ { print int($2 / 2^20) }' /proc/meminfo)
  echo $((gigabytes / 2 < 1 ? 1 : gigabytes / 2 < cores ? gigabytes / 2 : cores))
}

try() {
  "$python" -m pip install --no-deps --target "$work/site" "$1"
  cd "$work"
  PYTHONPATH=$work/site "$python" - "$options" <<'PYTHON'
import sys

import horovod.tensorflow as hvd

built = {"gloo": hvd.gloo_built(), "mpi": hvd.mpi_built(), "nccl": hvd.nccl_built()}
lacking = [option for option in sys.argv[1].split("+") if not built[option]]
sys.exit(f"Horovod was built without {lacking}" if lacking else 0)
PYTHON
}

main
