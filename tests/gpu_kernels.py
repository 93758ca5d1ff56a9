"""Which operations of a traced function TensorFlow has no GPU kernel for; it can be asked where there is no GPU."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

FEW = 64  # numbers
OF_SHAPES = {"BroadcastGradientArgs"}  # what computes with shapes, which are few numbers, on the host
ANYWHERE = ("GPU", "DEFAULT")  # DEFAULT kernels are for every device
# What the runtime replaces or inlines before it places anything.
STRUCTURE = {"Placeholder", "PlaceholderWithDefault", "_Arg", "_Retval", "PartitionedCall", "StatefulPartitionedCall"}


def without_gpu_kernel(function: Any) -> set[str]:
    """The operations, each with its types, that would fall to the CPU: of a `tf.function`'s concrete function.

    Among them are those whose GPU kernel has its result in the host's memory, as those of int32 have, unless the result
    is of a few numbers, such as a shape.
    """
    graph = function.graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return {_named(node) for node in nodes if node.op not in STRUCTURE and not _has_kernel(node)}


def _has_kernel(node: Any) -> bool:
    fitting = [
        kernel
        for kernel in _kernels(node.op)
        if all(
            node.attr[constraint.name].type in constraint.allowed_values.list.type for constraint in kernel.constraint
        )
    ]
    results = {argument.name for argument in op_def_registry.get(node.op).output_arg}
    is_small = node.op in OF_SHAPES or _is_small(node)
    return any(is_small or not results & set(kernel.host_memory_arg) for kernel in fitting)


def _is_small(node: Any) -> bool:
    """Whether all results are known to be of a few numbers."""
    shapes = node.attr["_output_shapes"].list.shape
    return bool(shapes) and all(
        not shape.unknown_rank and -1 not in (sizes := [dim.size for dim in shape.dim]) and math.prod(sizes) <= FEW
        for shape in shapes
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
