#!/usr/bin/env bash
# Sets up and trains on this machine: launch/train.sh [-- FLAGS], or make train FLAGS="...", where no flag has a space.
# NP is the number of processes: one a GPU, or 4. CONFIG is a config.json to train.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Not the recipe as it is, but a smaller and quicker one, for digits in minutes on two cores.
default_flags=(--config="${CONFIG:-launch/mnist-quick.json}")

launch/setup.sh
read -ra flags <<<"${FLAGS:-}"
[[ ${1:-} != -- ]] || shift
command=(python -m distgan.train "${default_flags[@]}" "${flags[@]}" "$@")
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
processes=${NP:-$((gpus > 0 ? gpus : 4))}
export PATH=$PWD/.venv/bin:$PATH

if ! [[ -x .venv/bin/horovodrun ]]; then
  echo "+ ${command[*]}"
  exec "${command[@]}"
fi

echo "+ horovodrun -np $processes ${command[*]}"
# horovodrun puts "[rank]<stdout>:" before every line, and its Gloo launcher has no option against
# it. So on a terminal rank 0 writes there itself, and its progress line can tell that it is on one.
if [[ -t 1 ]]; then
  export DISTGAN_TERMINAL=/proc/$$/fd/1
  # shellcheck disable=SC2016  # each rank expands it
  on_terminal='[ "$HOROVOD_RANK" != 0 ] || ! [ -w "$DISTGAN_TERMINAL" ] || exec >"$DISTGAN_TERMINAL"; exec "$@"'
  command=(sh -c "$on_terminal" rank "${command[@]}")
fi
# What TensorFlow says while it is imported, before it heeds TF_CPP_MIN_LOG_LEVEL, is left out. The
# filter outlives Ctrl-C, as horovodrun does until the ranks have saved.
exec horovodrun -np "$processes" "${command[@]}" \
  2> >(trap '' INT TERM; exec grep --line-buffered -vE '(^|>:)(I0000 |E0000 .*cuInit|WARNING: All log messages before absl|To enable the following)' >&2)
