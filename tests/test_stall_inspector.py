"""A rank that comes late is named, with what the others wait for, and the job ends.

Horovod 0.28.1 as released waits for ever under Gloo; distgan/horovod_build/2-gloo-stall-inspector.patch
cures it.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import limits
import pytest

HOROVODRUN = Path(sys.executable).with_name("horovodrun")
LATE_RANK = """
import time
import horovod.tensorflow as hvd
import tensorflow as tf

@tf.function  # outside a graph an operation has no name
def reduce():
    return hvd.allreduce(tf.ones(3), name="gradients_of_generator")

hvd.init()
if hvd.rank() == 1:
    time.sleep(1_000_000)  # the inspector ends the job, not the program
reduce()
"""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("horovod"), reason="Horovod is not installed")
def test_a_late_rank_and_what_it_owes_are_named_and_the_job_ends(tmp_path: Path) -> None:
    program = tmp_path / "late.py"
    program.write_text(LATE_RANK)
    seconds = ["--stall-check-warning-time-seconds", "2", "--stall-check-shutdown-time-seconds", "5"]
    job = subprocess.run(
        [HOROVODRUN, "-np", "2", *seconds, sys.executable, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=limits.LIMIT_SECONDS,
        check=False,
    )
    assert "1: [gradients_of_generator]" in job.stdout
    assert "stalled for longer than 5 seconds. Will shutdown." in job.stdout
    assert job.returncode != 0
