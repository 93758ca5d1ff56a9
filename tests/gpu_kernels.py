"""Which operations of a traced function TensorFlow has no GPU kernel for; it can be asked where there is no GPU."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import kernels

ANYWHERE = ("GPU", "DEFAULT")  # DEFAULT kernels are for every device
# What the runtime replaces or inlines before it places anything.
STRUCTURE = {"Placeholder", "PlaceholderWithDefault", "_Arg", "_Retval", "PartitionedCall", "StatefulPartitionedCall"}


def without_gpu_kernel(function: Any) -> set[str]:
    """The operations, each with its types, that would fall to the CPU: of a `tf.function`'s concrete function."""
    graph = function.graph.as_graph_def(add_shapes=False)
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return {_named(node) for node in nodes if node.op not in STRUCTURE and not _has_kernel(node)}


def _has_kernel(node: Any) -> bool:
    return any(
        all(node.attr[constraint.name].type in constraint.allowed_values.list.type for constraint in kernel.constraint)
        for kernel in _kernels(node.op)
    )


@cache
def _kernels(op: str) -> list[Any]:
    return [kernel for kernel in kernels.get_registered_kernels_for_op(op).kernel if kernel.device_type in ANYWHERE]


def _named(node: Any) -> str:
    return f"{node.op}({', '.join(_types(node))})"


def _types(node: Any) -> Iterator[str]:
    for name, value in sorted(node.attr.items()):
        if value.WhichOneof("value") == "type":
            yield f"{name}={tf.as_dtype(value.type).name}"
