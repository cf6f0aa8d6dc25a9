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

    def check(self, name: str, tensor: Tensor, *layouts: str, flags: bool = False) -> str:
        """Hold `tensor` against layouts such as "b t h k"; returns the one it has. An axis "1" must have size 1.

        Raises TypeError for what is no tensor, and ValueError naming the argument and its dtype, where that is not
        floating (for `flags`: where it is), or its shape, the axes, and the argument that first set the size.
        """
        if not isinstance(tensor, Tensor):
            wanted = " or ".join(f"({', '.join(layout.split())})" for layout in layouts)
            raise TypeError(f"{self.op}: {name} must be a tensor {wanted}, not {type(tensor).__name__}")
        if tensor.is_floating_point() is flags or tensor.is_complex():
            wanted = "bool" if flags else "floating"
            raise ValueError(f"{self.op}: {name} must be {wanted}, not {str(tensor.dtype).removeprefix('torch.')}")
        shape = tensor.shape
        for layout in layouts:
            axes = layout.split()
            if len(axes) == len(shape):
                break
        else:
            wanted = " or ".join(f"({', '.join(layout.split())})" for layout in layouts)
            raise ValueError(f"{self.op}: {name} must be {wanted}, but has {len(shape)} axes: {tuple(shape)}")
        for axis, size in zip(axes, shape, strict=True):
            if axis not in self.known:
                self.known[axis] = (1, "the layout") if axis == "1" else (size, name)
            known, source = self.known[axis]
            if size != known:
                raise ValueError(
                    f"{self.op}: {name} must be ({', '.join(axes)}) with {axis} = {known} as in {source}, "
                    f"but its shape is {tuple(shape)}"
                )
        return layout

    def __getitem__(self, axis: str) -> int:
        return self.known[axis][0]
