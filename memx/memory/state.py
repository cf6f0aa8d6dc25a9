"""The state of a memory or of a whole model: a frozen tree of tensors whose leading axis is the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.utils import _pytree

from memx.files import atomic


class State:
    """A frozen tree of tensors, read by attribute: `State(S=tensor, empty=flags).S`.

    Every leaf has the batch as its leading axis. A node is a tensor or another State. A state is never changed in
    place: `state.replace(S=new)` gives a new one.
    """

    __slots__ = ("_nodes",)
    _nodes: dict[str, Any]

    def __init__(self, **nodes: Tensor | State):
        for name, node in nodes.items():
            if not isinstance(node, Tensor | State):
                raise TypeError(f"state {name!r} is a {type(node).__name__}; a state holds tensors and states only")
            if "/" in name:
                raise ValueError(f"state name {name!r} may not contain '/'")
        object.__setattr__(self, "_nodes", nodes)

    def __getattr__(self, name: str) -> Any:
        if name == "_nodes":  # a state in the making, as copy, pickle and compilers make them
            raise AttributeError(name)
        try:
            return self._nodes[name]
        except KeyError:
            raise AttributeError(f"state has no {name!r}; it has {', '.join(self._nodes) or 'nothing'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a state is frozen: use state.replace({name}=…)")

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __repr__(self) -> str:
        def show(node: Any) -> str:
            return repr(node) if isinstance(node, State) else f"{str(node.dtype)[6:]}{list(node.shape)}"

        return f"State({', '.join(f'{name}={show(node)}' for name, node in self._nodes.items())})"

    def __reduce__(self) -> Any:
        return (_unflatten_nodes, (tuple(self._nodes), tuple(self._nodes.values())))

    def replace(self, **nodes: Tensor | State) -> State:
        """A copy with these nodes put in place of the old ones (or added)."""
        return State(**{**self._nodes, **nodes})

    def map(self, function: Callable[[Tensor], Tensor]) -> State:
        """A state of the same tree with `function` applied to every tensor."""
        return State(**{k: v.map(function) if isinstance(v, State) else function(v) for k, v in self._nodes.items()})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        """Move; `dtype` is applied to floating-point tensors only (counters and flags stay what they are)."""
        return self.map(lambda x: x.to(device=device, dtype=dtype if x.is_floating_point() else None))

    def detach(self) -> State:
        return self.map(torch.Tensor.detach)

    def clone(self) -> State:
        return self.map(torch.Tensor.clone)

    def __getitem__(self, index: Any) -> State:
        """Index the batch axis of every tensor: `state[2:4]`, `state[mask]`, `state[torch.tensor([0, 0])]`."""
        if isinstance(index, int):
            raise TypeError("index a batch with a slice or a list, so that the batch axis stays: state[i : i + 1]")
        return self.map(lambda x: x[index])

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All tensors by path, `outer/inner`."""
        flat: dict[str, Tensor] = {}
        for name, node in self._nodes.items():
            if isinstance(node, State):
                flat.update(node.tensors(f"{prefix}{name}/"))
            else:
                flat[prefix + name] = node
        return flat

    @classmethod
    def from_tensors(cls, flat: Mapping[str, Tensor]) -> State:
        """The inverse of `tensors()`."""
        tree: dict[str, Any] = {}
        for path, tensor in flat.items():
            *parents, leaf = path.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = tensor

        def build(node: dict[str, Any]) -> State:
            return cls(**{k: build(v) if isinstance(v, dict) else v for k, v in node.items()})

        return build(tree)

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors hold."""
        return sum(x.numel() * x.element_size() for x in self.tensors().values())

    def save(self, path: str | Path) -> None:
        """Write as safetensors; the file appears whole or not at all."""
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        with atomic(path) as part:
            part.write_bytes(safetensors.torch.save(flat, metadata={"format": "memx.State"}))

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> State:
        """Read what `save` wrote, exactly. Empty nested states are not kept."""
        return cls.from_tensors(safetensors.torch.load_file(str(path), device=device))


def where_batch(condition: Tensor, yes: State, no: State) -> State:
    """Per batch item: `yes` where `condition` (b,) holds, else `no`. Shapes of the two must agree leaf by leaf."""
    ys, ns = yes.tensors(), no.tensors()

    def pick(name: str) -> Tensor:
        y, n = ys[name], ns[name]
        return torch.where(condition.view(-1, *[1] * (n.ndim - 1)), y.to(n.dtype), n)

    return State.from_tensors({name: pick(name) for name in ns})


def cat_batch(states: Sequence[State]) -> State:
    """Join states of one tree along the batch."""
    flats = [state.tensors() for state in states]
    return State.from_tensors({name: torch.cat([flat[name] for flat in flats]) for name in flats[0]})


def _unflatten_nodes(names: tuple[str, ...], nodes: Sequence[Any]) -> State:
    state = object.__new__(State)
    object.__setattr__(state, "_nodes", dict(zip(names, nodes, strict=True)))
    return state


def _flatten_with_keys(state: Any) -> tuple[list[tuple[Any, Any]], Any]:
    return [(_pytree.GetAttrKey(name), node) for name, node in state._nodes.items()], tuple(state._nodes)


_pytree.register_pytree_node(
    State,
    lambda state: (list(state._nodes.values()), tuple(state._nodes)),
    lambda nodes, names: _unflatten_nodes(names, list(nodes)),
    serialized_type_name="memx.State",
    flatten_with_keys_fn=_flatten_with_keys,
)
