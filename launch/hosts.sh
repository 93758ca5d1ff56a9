#!/usr/bin/env bash
# The hosts of an elastic job, a line each, as host:slots; horovodrun asks every second (--host-discovery-script). They
# are the lines of the file that DISTGAN_HOSTS names, which may change while the job runs, of hosts whose sshd answers (on
# SSH_PORT, if not 22): to one that is cut off the launcher would start processes in vain. Without a file, it is this
# machine under two names with half of its slots each, so that it is not banned as a whole when a process fails. SLOTS is
# how many: one a GPU, or 4.
set -euo pipefail

answers() {
  [[ $1 == localhost || $1 == 127.0.0.1 || $1 == "$(hostname)" ]] ||
    timeout 2 bash -c 'exec 3<>"/dev/tcp/$1/$2"' answers "$1" "${SSH_PORT:-22}" 2>/dev/null
}

if [[ ${DISTGAN_HOSTS:-} ]]; then
  if [[ ! -r $DISTGAN_HOSTS ]]; then
    echo "DISTGAN_HOSTS=$DISTGAN_HOSTS can't be read: it must be a file with a host:slots a line." >&2
    exit 2
  fi
  while IFS= read -r line; do
    if [[ $line ]] && answers "${line%%:*}"; then echo "$line"; fi
  done <"$DISTGAN_HOSTS"
  exit
fi
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
slots=${SLOTS:-$((gpus > 0 ? gpus : 4))}
echo "localhost:$(((slots + 1) / 2))"
if ((slots > 1)); then echo "127.0.0.1:$((slots / 2))"; fi
