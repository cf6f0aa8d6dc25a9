"""The bytes that an operator moves as eager execution does: its inputs read from memory, its results written to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

# fmt: off
FREE = frozenset({
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "device", "diagonal", "empty", "empty_like",
    "empty_strided", "expand", "lift_fresh", "new_empty", "permute", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "transpose", "unbind", "unfold", "unsafe_split", "unsqueeze", "view",
})
"""Operators that calculate nothing and move nothing: views and allocations."""

FILLS = frozenset({
    "arange", "eye", "fill_", "full", "full_like", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "rand",
    "randn", "scalar_tensor", "zero_", "zeros", "zeros_like",
})
"""Operators that write and read nothing."""

TAKES = frozenset({"gather", "index", "index_select"})
"""Operators that read of their first input only what they return."""

COPIES = TAKES | frozenset({
    "_to_copy", "cat", "clone", "constant_pad_nd", "copy_", "flip", "index_put_", "masked_fill", "masked_fill_",
    "repeat", "replication_pad2d", "roll", "scatter", "slice_scatter", "stack", "tril", "tril_", "triu", "where",
})
"""Operators that move numbers and do not calculate."""
# fmt: on


def moved(name: str, args: Iterable[Any], options: dict[str, Any], out: Any) -> int:
    """Bytes that operator `name` reads and writes.

    bytes = Σ over its tensors read + Σ over its results

    A tensor given twice is read once; a broadcast one as far as it is stored. What works in place reads and writes its
    tensor, but for copies into it and fills.
    """
    if name in FREE:
        return 0
    written = stored(tensors(out))
    if name in FILLS:
        return written
    inputs = list(tensors((*args, *options.values())))
    if name in TAKES:
        return 2 * written + stored(inputs[1:])
    if name == "index_put_":
        return stored(inputs[1:]) + stored(inputs[-1:])
    return written + stored(inputs[1:] if name == "copy_" else inputs)


def tensors(found: Any) -> Iterator[Tensor]:
    """The tensors of an operator's arguments or result, each once."""
    seen: set[int] = set()
    for item in _flat(found):
        if isinstance(item, Tensor) and id(item) not in seen:
            seen.add(id(item))
            yield item


def stored(found: Iterable[Tensor]) -> int:
    """Bytes that these tensors have in memory: axes along which one is expanded count once."""
    return sum(min(_strided(tensor), tensor.untyped_storage().nbytes()) for tensor in found)


def _strided(tensor: Tensor) -> int:
    shape = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in shape if stride or not size) * tensor.element_size()


def _flat(found: Any) -> Iterator[Any]:
    if isinstance(found, list | tuple):
        for item in found:
            yield from _flat(item)
    else:
        yield found
