# docker build -t distgan . && docker run --rm -it --shm-size=1g distgan
# For NVIDIA GPUs: --build-arg BASE=nvidia/cuda:12.9.1-devel-ubuntu24.04 --build-arg GPU=1
# For launch/mpijob.yaml: --build-arg MPI=1, which adds Open MPI and sshd.
# Not built by its author, who had no container engine.
ARG BASE=ubuntu:24.04
FROM ${BASE}
ARG GPU=0
ARG MPI=0

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates cmake g++ make patch python3 python3-venv \
       $(if [ "$MPI" = 1 ]; then echo libopenmpi-dev openmpi-bin openssh-client openssh-server; fi) \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1001 --shell /bin/bash distgan

# The MPI operator mounts its keys into ~/.ssh, read-only, and runs sshd as our user.
RUN if [ "$MPI" = 1 ]; then \
        mkdir -p /run/sshd /etc/ssh/ssh_config.d \
        && printf 'Host *\n  Port 2222\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n' \
           > /etc/ssh/ssh_config.d/distgan.conf \
        && printf 'Port 2222\nPidFile /tmp/sshd.pid\nHostKey ~/.ssh/id_rsa\nStrictModes no\n' \
           | sed 's|~|/home/distgan|' > /home/distgan/.sshd_config; \
    fi

USER distgan
WORKDIR /home/distgan/distgan
COPY --chown=distgan . .
RUN DISTGAN_GPU=${GPU} launch/setup.sh && rm -rf ~/.cache
ENV PATH=/home/distgan/distgan/.venv/bin:$PATH
CMD ["horovodrun", "--gloo", "-np", "4", "python", "-m", "distgan.train"]
