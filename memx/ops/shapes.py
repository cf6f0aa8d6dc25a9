"""Shapes checked by name, so that an error says which argument, which axes and which size."""

from __future__ import annotations

from torch import Tensor


class Sizes:
    """Sizes of named axes, learnt from the first tensor that has them and held against the others.

    sizes = Sizes("gated_delta_rule")
    sizes.check("k", k, "b t h k")
    sizes.check("v", v, "b t h v")
    """

    def __init__(self, op: str):
        self.op = op
        self.known: dict[str, tuple[int, str]] = {}

    def check(self, name: str, tensor: Tensor, *layouts: str) -> str:
        """Hold `tensor` against layouts such as "b t h k"; returns the one it has. An axis "1" must have size 1.

        Raises ValueError naming the argument, its shape, the axes, and the argument that first set the size.
        """
        shape = tuple(tensor.shape)
        fitting = [layout for layout in layouts if len(layout.split()) == len(shape)]
        if not fitting:
            wanted = " or ".join(f"({', '.join(layout.split())})" for layout in layouts)
            raise ValueError(f"{self.op}: {name} must be {wanted}, but has {len(shape)} axes: {shape}")
        layout = fitting[0]
        for axis, size in zip(layout.split(), shape, strict=True):
            known, source = self.known.setdefault(axis, (1, "the layout") if axis == "1" else (size, name))
            if size != known:
                axes = ", ".join(layout.split())
                raise ValueError(
                    f"{self.op}: {name} must be ({axes}) with {axis} = {known} as in {source}, but its shape is {shape}"
                )
        return layout

    def __getitem__(self, axis: str) -> int:
        return self.known[axis][0]
