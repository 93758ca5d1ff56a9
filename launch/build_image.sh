#!/usr/bin/env bash
# Builds the Dockerfile's image: launch/build_image.sh [--build-arg NAME=VALUE ...]. By docker where it runs; else, as
# root, by buildah, which needs no daemon, on a base made by debootstrap of this machine's own distribution:
#
#   apt-get install buildah debootstrap && launch/build_image.sh
#   buildah from --storage-driver vfs --name try distgan:0.1.0 && buildah run --isolation chroot --storage-driver vfs try -- \
#     horovodrun -np 2 python -m distgan.train --steps=20
#
#   TAG=distgan:0.1.0  what the image is called
#   SUITE=bookworm     of the base; otherwise this machine's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tag=${TAG:-distgan:0.1.0}

if docker info >/dev/null 2>&1; then
  exec docker build --tag "$tag" "$@" .
fi
for tool in buildah debootstrap; do
  if ! command -v "$tool" >/dev/null; then
    echo "build_image: docker does not run here, and there is no $tool: apt-get install buildah debootstrap" >&2
    exit 2
  fi
done
if ((EUID)); then
  echo "build_image: without docker this takes root" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=/dev/null
. /etc/os-release
suite=${SUITE:-$VERSION_CODENAME}
options=(--storage-driver vfs)
base=localhost/distgan-base:$suite
if ! buildah inspect "${options[@]}" --type image "$base" >/dev/null 2>&1; then
  # From where this machine has its own packages.
  components=--components=main
  if [[ $ID == ubuntu ]]; then components+=,universe; fi
  # shellcheck disable=SC2016  # it is apt's own
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" | sed -n 1p)
  debootstrap --variant=minbase "$components" "$suite" "$work/base" "$mirror"
  rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
  container=$(buildah from "${options[@]}" scratch)
  buildah copy --quiet "${options[@]}" "$container" "$work/base" /
  buildah commit --quiet "${options[@]}" "$container" "$base"
  buildah rm "${options[@]}" "$container"
fi
# What this machine needs to reach its package index, the build needs too, and the image not.
through=(--volume /etc/ssl/certs:/certificates:ro)
if [[ ${PIP_CERT:-} ]]; then through+=(--build-arg "PIP_CERT=${PIP_CERT/#\/etc\/ssl\/certs//certificates}"); fi
if [[ ${PIP_INDEX_URL:-} ]]; then through+=(--build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"); fi
buildah bud "${options[@]}" --isolation chroot "${through[@]}" --build-arg "BASE_IMAGE=$base" --tag "$tag" "$@" .
