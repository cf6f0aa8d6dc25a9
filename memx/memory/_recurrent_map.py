"""What the memories share that keep maps on the frame's grid and renew them by convolutions: ConvGRU and ConvLSTM."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory.base import Cost, Memory, Shape, Tokens, check_frame, state_dtype
from memx.memory.state import State
from memx.ops.precision import no_autocast


class RecurrentMapMemory(Memory):
    """A memory of maps (b o v y x) on the frame's grid. A subclass names them in `maps` and renews them in `renew`.

    The first map is what is read. Before the first frame the grid is not known: the empty state holds maps of size
    0 × 0, which the first write takes for zeros.
    """

    maps: ClassVar[tuple[str, ...]]

    def __init__(self, key_dim: int, value_dim: int, *, kernel: int):
        super().__init__()
        self.key_dim, self.value_dim, self.kernel = key_dim, value_dim, kernel

    def renew(
        self, key: Float[Tensor, "b k y x"], value: Float[Tensor, "b o v y x"], maps: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """The maps after a frame, in the order of `self.maps`."""
        raise NotImplementedError(f"{type(self).__name__} must define renew")

    def convolution(self, gates: int) -> nn.Conv2d:
        """A convolution of key, value and hidden map side by side to `gates` maps of `value_dim` channels."""
        wide = self.key_dim + 2 * self.value_dim
        return nn.Conv2d(wide, gates * self.value_dim, self.kernel, padding=self.kernel // 2)

    def convolved(
        self,
        conv: nn.Conv2d,
        key: Float[Tensor, "b k y x"],
        value: Float[Tensor, "b o v y x"],
        hidden: Float[Tensor, "b o v y x"],
    ) -> Float[Tensor, "b o c y x"]:
        """conv([key, value, hidden]); the key's part is the frame's, and computed once for all objects."""
        weight, bias = (p.to(hidden.dtype) for p in (conv.weight, conv.bias) if p is not None)
        of_key, of_object = weight.split([self.key_dim, 2 * self.value_dim], dim=1)
        shared = F.conv2d(key, of_key, bias, padding=self.kernel // 2)
        own = F.conv2d(torch.cat([value, hidden], dim=2).flatten(0, 1), of_object, padding=self.kernel // 2)
        return shared.unsqueeze(1) + own.unflatten(0, value.shape[:2])

    def why_not(self, form: str) -> str:
        return "the gates of a frame need the hidden map before it, so frames cannot be computed at once"

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        shape = (batch, objects, self.value_dim, 0, 0)
        return State(**{name: torch.zeros(shape, device=device, dtype=state_dtype(dtype)) for name in self.maps})

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        return state.map(lambda x: self._on_grid(x, size))

    def restart(self, state: State, frame: Tokens) -> State:
        check_frame(self, state, frame)
        if frame.reset is None:
            return state
        gone = frame.reset[:, None, None, None, None]
        return state.map(lambda x: torch.where(gone, x.new_zeros(()), x))

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        grid = self._grid(frame)
        before = tuple(self._on_grid(state.tensors()[name], grid) for name in self.maps)
        dtype = before[0].dtype
        with no_autocast(frame.value.device):
            key, value = (x.to(dtype).mT.unflatten(-1, grid) for x in (frame.key, frame.value))
            return State(**dict(zip(self.maps, self.renew(key, value, before), strict=True)))

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        hidden = self._on_grid(state.tensors()[self.maps[0]], self._grid(frame))
        return hidden.flatten(-2).mT.to(frame.value.dtype)

    def _grid(self, frame: Tokens) -> tuple[int, int]:
        if frame.size is None:
            raise ValueError(f"{type(self).__name__} needs Tokens.size, (y, x) of the frame's tokens, which is None")
        return frame.size

    def _on_grid(self, x: Float[Tensor, "b o v y0 x0"], grid: tuple[int, int]) -> Float[Tensor, "b o v y1 x1"]:
        """A map of the state on the frame's grid: zeros where nothing was written yet."""
        held = (x.shape[-2], x.shape[-1])
        if held == grid:
            return x
        if held != (0, 0):
            raise ValueError(
                f"{type(self).__name__} holds maps of {held[0]} × {held[1]} and cannot take a frame whose Tokens.size "
                f"is {grid[0]} × {grid[1]}"
            )
        return x.new_zeros(*x.shape[:3], *grid)

    def map_cost(self, shape: Shape, *, gates: int, operations: int) -> Cost:
        """The cost of `gates` convolved maps and `operations` elementwise ones an entry of a map."""
        frames, n, k, width = shape.batch * shape.frames, shape.tokens, self.key_dim, shape.objects * self.value_dim
        state = 4 * len(self.maps) * n * width
        return Cost(
            macs=frames * n * self.kernel**2 * (k + 2 * width) * gates * self.value_dim,
            pointwise=frames * operations * n * width,
            bytes_moved=frames * (4 * n * (k + 2 * width) + 2 * state),
            state_bytes=shape.batch * state if shape.frames else 0,
        )
