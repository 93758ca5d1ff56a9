"""The doctor finds what there is, and has a word of advice for what is missing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import layouts
import limits
import pytest
import tensorflow as tf

from distgan import doctor, hardware
from distgan.errors import UserError
from distgan.replicas import devices


def _ask(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return limits.run([sys.executable, *arguments], env=os.environ | environment)


@pytest.mark.slow
def test_it_tells_what_this_machine_has() -> None:
    answer = _ask("-m", "distgan.doctor")
    said = dict(re.findall(r"^(\w[\w ]*?)  +(.+)$", answer.stdout, re.M))
    assert set(said) >= {"distgan", "Python", "TensorFlow", "Horovod", "MPI", "GPUs", "Processor", "Memory", "Network"}
    assert said["Python"] == f"{sys.version.split()[0]}, {sys.executable}"
    assert re.search(r"\blo 127\.0\.0\.1", said["Network"])
    if layouts.HOROVODRUN:
        assert re.search(r"2 processes on 1 host: 4 bytes in [\d.]+ ms, 10,485,760 bytes in", said["Two processes"])
    assert answer.returncode == ("Problems:" in answer.stdout)
    assert answer.stderr == ""


@pytest.mark.slow
def test_without_horovod_processes_meet_by_multiworker(tmp_path: Path) -> None:
    hidden = tmp_path / "horovod"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('hidden')")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    answer = _ask("-m", "distgan.doctor", "--json", PYTHONPATH=path)
    found = {finding["what"]: finding for finding in json.loads(answer.stdout)}
    assert found["Horovod"] == {
        "what": "Horovod", "found": "none: --backend=multiworker takes its place, except in elastic jobs", "fix": "",
    }  # fmt: skip
    assert found["Two processes"]["found"].startswith("by multiworker, 2 processes on 1 host: 4 bytes in ")
    assert answer.returncode == any(finding["fix"] for finding in found.values())


@pytest.mark.skipif(not layouts.HOROVODRUN, reason=layouts.NO_HOROVOD)
def test_processes_that_do_not_meet_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "horovodrun"
    broken.write_text("#!/bin/sh\necho starting\necho no route to host >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(broken))
    finding = doctor._two_processes()
    assert finding.found == "could not connect: no route to host"
    assert finding.fix.startswith(f"see what `{broken} --gloo -np 2 ")


class OneWrongSum:
    """Replicas whose sums come out one too high."""

    num_replicas = 3

    def place(self, array: Any) -> Any:
        return tf.constant(array)

    def compile(self, function: Any) -> Any:
        return function

    def sum_in_step(self, tensors: list[Any]) -> list[Any]:
        return [tensor * 3 + 1 for tensor in tensors]


def test_a_sum_that_comes_out_wrong_is_an_error() -> None:
    with pytest.raises(UserError, match=r"An all-reduce of ones over 3 replicas gave 4\.0"):
        doctor._seconds_to_sum(OneWrongSum(), 4)


@pytest.mark.parametrize(("flags", "says"), [("fpu avx2 avx512f", "AVX2, AVX-512); bfloat16 is slow on it"),
                                             ("avx2 amx_bf16", "AVX2, AMX)")])  # fmt: skip
def test_the_processor_s_units_are_named(
    flags: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A Processor\nflags\t\t: {flags}\n")
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    found = hardware.processor().found
    assert f"A Processor ({says}" in found
    assert found.endswith(says)


@pytest.mark.parametrize(
    ("row", "says", "advises"),
    [
        (
            "NVIDIA H100, 81559 MiB, 9.0, Disabled, 1980 MHz, 550.54",
            "H100, 81559 MiB, compute capability 9.0",
            "DISTGAN_GPU",
        ),
        ("NVIDIA B200, 183359 MiB, 10.0, Enabled, 1965 MHz, 570.86", "MIG on; driver 570.86, ", "DISTGAN_GPU"),
        ("NVIDIA B200, 183359 MiB, 10.0, Enabled, 1965 MHz, 570.86", "raise --start_timeout_seconds", "DISTGAN_GPU"),
        ("Tesla M60, 8192 MiB, 5.2, [N/A], 1177 MHz, 470.10", "capability 5.2", "from compute capability 6.0 on"),
        ("", "none", ""),
    ],
)
def test_what_the_driver_says_of_gpus_is_told(
    row: str, says: str, advises: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{row}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    finding = hardware.gpus(nccl_built=True)
    assert says in finding.found
    assert advises in finding.fix
    assert bool(advises) == bool(finding.fix)
