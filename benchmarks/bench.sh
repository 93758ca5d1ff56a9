#!/usr/bin/env bash
# Sets up, runs a short form of every benchmark, and redraws the pictures of benchmarks/README.md.
# With arguments, only the benchmark that they name: benchmarks/bench.sh scaling --rounds=5. Results and pictures go to
# DISTGAN_RESULTS, a directory, if that is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/setup.sh
export PATH=$PWD/.venv/bin:$PATH

bench() {
  echo "== $1"
  python "benchmarks/$1.py" "${@:2}"
}

if (($#)); then
  bench "$@"
else
  bench throughput --rounds=1 --blocks=2 --steps=3 --batch_sizes=16,256 --layouts=single:1 --precisions=float32
  bench scaling --rounds=1 --steps=8 --backends=horovod --flags=
  if ((EUID == 0)); then bench wire --rounds=1 --steps=5 --links_gbits=1; fi # only root can make its hosts
  bench allreduce --rounds=1 --repetitions=5 --sizes=4096,1048576 --libraries=socket,horovod --cycles_ms= --fusions_mib=
  bench input --rounds=1 --seconds=0.5 --steps=2 --sources=mnist,folder
  bench startup --rounds=1 --layouts=single:1
  bench memory --cases=mnist,mlp --growth_steps=200
  bench peers --rounds=1 --steps=3 --batch_size=64
  bench onednn --rounds=1 --steps=8 --cases=mnist
  bench fixed_cost --rounds=1 --steps=200
  bench simulate --ranks=1,8,64 --rounds=1 --changes=3
  bench project
  bench faults --rounds=1
  bench soak --steps=40 --processes=2
  python benchmarks/plots.py
fi
