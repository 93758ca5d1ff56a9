#!/usr/bin/env bash
# Trains on this machine with processes that may come and go: launch/elastic.sh [FLAGS]. NP processes begin, MIN_NP must
# stay, MAX_NP may come; by default one a GPU, or 4. A file named by DISTGAN_HOSTS says where, and may change meanwhile:
#
#   printf 'localhost:2\n127.0.0.1:2\n' > hosts
#   DISTGAN_HOSTS=hosts launch/elastic.sh --preset=mnist_best
#   echo localhost:2 > hosts     # two processes leave, and the run goes on
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$here/../.venv/bin:$PATH

slots=$("$here/hosts.sh" | awk -F: '{ slots += $2 } END { if (slots) print slots }')
if [[ ! $slots ]]; then
  echo "No host has a slot: DISTGAN_HOSTS=${DISTGAN_HOSTS:-} must name a file with a host:slots a line, of hosts whose sshd answers." >&2
  exit 2
fi
np=${NP:-$slots}
elastic=(-np "$np" --min-np "${MIN_NP:-1}" --max-np "${MAX_NP:-$((np > slots ? np : slots))}")
elastic+=(--host-discovery-script "$here/hosts.sh")
# A host whose process failed is banned, and tried again after some seconds, more each time.
elastic+=(--blacklist-cooldown-range 5 60)
# Newcomers load TensorFlow while the others wait for them.
elastic+=(--gloo-timeout-seconds "${GLOO_TIMEOUT_SECONDS:-60}")
# Hosts that are all this one meet on its loopback; with others, horovodrun finds out.
if ! "$here/hosts.sh" | grep -qvE '^(localhost|127\.0\.0\.1):'; then elastic+=(--network-interfaces lo); fi

echo "+ horovodrun ${elastic[*]} python -m distgan.train $*"
exec horovodrun "${elastic[@]}" python -m distgan.train "$@"
