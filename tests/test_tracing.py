"""Functions are traced as they stand, as often as there are runs, without a word of TensorFlow's."""

import logging

import pytest
import tensorflow as tf

from distgan.tracing import traced


def _double(value: tf.Tensor) -> tf.Tensor:
    return value * 2


def test_tensorflow_does_not_warn_of_a_function_that_every_run_traces(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.WARNING)  # as where distgan is used from Python
    logger.addHandler(caplog.handler)
    try:
        for _ in range(10):
            assert traced(_double)(tf.constant(2)) == 4
        assert not caplog.records
        for _ in range(10):
            tf.function(_double)(tf.constant(2))
        assert "retracing" in caplog.text  # which is what it does elsewhere
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)


def test_a_loop_of_python_s_is_run_while_it_is_traced() -> None:
    def sum_of_rows(rows: tf.Tensor) -> tf.Tensor:
        return sum(row for row in tf.unstack(rows))

    function = traced(sum_of_rows).get_concrete_function(tf.TensorSpec([3, 2]))
    assert not any(node.op == "While" for node in function.graph.as_graph_def().node)
