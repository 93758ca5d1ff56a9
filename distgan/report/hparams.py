"""The settings of a run for TensorBoard's HParams page, which compares runs by settings, losses and scores."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from distgan.config.config import options
from distgan.report import logs
from distgan.report.panels import MEASURES
from distgan.store import atomic

# A file of its own, which each start of the run replaces: TensorBoard keeps the first settings that it finds. It reads
# the files of a directory in the order of their names, and new records only of the last one.
FILE = "events.out.tfevents.0000000000.000000.hparams"
METRICS = ("loss/generator", "loss/discriminator", *(f"quality/{name}" for name in MEASURES))
TYPES = {bool: api_pb2.DATA_TYPE_BOOL, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}


def write(directory: Path, settings: Mapping[str, Any]) -> None:
    """Write a run's settings into the directory of its TensorBoard files. Raises `OSError` if that is impossible."""
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        elif value is not None:
            start.hparams[name].string_value = value.encode(errors="replace").decode()  # a path may not be UTF-8
    values = [
        Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
        for tag, data in (
            (metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=_experiment())),
            (metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        )
    ]
    events = (Event(file_version="brain.Event:2"), Event(summary=Summary(value=values)))
    atomic.write(directory / FILE, b"".join(map(logs.record_of, events)))


def _experiment() -> api_pb2.Experiment:
    """Return the columns of the page: those of all GANs, as TensorBoard takes them from any one of the runs."""
    hparams = [
        api_pb2.HParamInfo(
            name=option.name,
            description=option.help,
            type=TYPES.get(option.type, api_pb2.DATA_TYPE_STRING),
            differs=option.main,  # these are shown first
        )
        for option in options().values()
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS]
    return api_pb2.Experiment(hparam_infos=hparams, metric_infos=metrics)
