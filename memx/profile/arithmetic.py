"""What a call calculates and moves, operator by operator, component by component: nothing is counted as nothing."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from memx.ops.frame import eigenvalue_macs
from memx.profile.scopes import Scopes, watching
from memx.profile.traffic import COPIES, FILLS, FREE, moved, stored, tensors

# fmt: off
_ONE = frozenset({
    "abs", "abs_", "add", "add_", "all", "any", "bitwise_and", "bitwise_not", "bitwise_or", "ceil", "clamp",
    "clamp_", "clamp_max", "clamp_min", "clamp_min_", "cos", "div", "div_", "eq", "erf", "exp", "exp_", "exp2",
    "floor", "ge", "gt", "isnan", "le", "log", "log1p", "log2", "logical_and", "logical_not", "logical_or", "lt",
    "maximum", "minimum", "mul", "mul_", "ne", "neg", "neg_", "pow", "reciprocal", "relu", "relu_", "remainder",
    "round", "rsqrt", "rsub", "sgn", "sign", "sin", "sqrt", "sub", "sub_", "tanh",
})
"""Operators of one operation an element of what they return."""
# fmt: on

_AN_ELEMENT_OUT: dict[str, int] = {
    **dict.fromkeys(_ONE, 1),
    "addcmul": 2,
    "gelu": 8,
    "lerp": 3,
    "log_sigmoid_forward": 4,
    "logit": 3,
    "sigmoid": 4,
    "silu": 5,
    "softplus": 4,
    "_native_batch_norm_legit_no_training": 2,
    "cudnn_batch_norm": 2,
    "native_batch_norm": 2,
    "native_layer_norm": 8,
    "native_group_norm": 8,
    "_softmax": 5,
    "_safe_softmax": 5,
    "_log_softmax": 5,
    "upsample_bilinear2d": 7,
    "upsample_nearest2d": 0,
}
"""Operations an element of what is returned. Exponentials, roots and divisions count as one."""

_AN_ELEMENT_IN: dict[str, int] = {
    "amax": 1,
    "amin": 1,
    "argmax": 1,
    "adaptive_avg_pool2d": 1,
    "_adaptive_avg_pool2d": 1,
    "cumsum": 1,
    "linalg_vector_norm": 2,
    "max": 1,
    "mean": 1,
    "min": 1,
    "prod": 1,
    "std": 3,
    "sum": 1,
    "topk": 1,
    "var": 3,
}
"""Operations an element of what is reduced."""


_WINDOWED = frozenset({"avg_pool2d", "max_pool2d_with_indices"})
"""Operators of one operation an element of each window."""

_SOLVED: dict[str, Callable[..., int]] = {
    "linalg_solve_triangular": lambda A, B, **_: B.numel() * (A.shape[-1] - 1) // 2,
    "_linalg_eigh": lambda A, *_, **__: math.prod(A.shape[:-2]) * eigenvalue_macs(A.shape[-1]),
}
"""Multiply-accumulates of solves: c (c − 1) / 2 a right-hand side of substitution, ⅔ k³ of a matrix's eigenvalues."""


@dataclass(frozen=True)
class Call:
    """One call of an operator that calculates or moves numbers; on a GPU, one kernel or more.

    macs       multiply-accumulates of products and solves
    pointwise  elementwise operations and reductions
    bytes      read and written
    format     number format of the result, such as float32
    """

    operator: str
    macs: int
    pointwise: int
    bytes: int
    format: str

    @property
    def flops(self) -> int:
        return 2 * self.macs + self.pointwise


@dataclass
class Tally:
    """What was counted in one scope, its parts not included.

    macs        multiply-accumulates of products and solves, by operator
    pointwise   elementwise operations and reductions, by operator
    uncounted   operators for which there is no rule: calls
    calls       every call, with how many there were that were alike; views and allocations are none.
                Attention is one, as it is where it is fused: its scores are no bytes
    """

    macs: Counter[str] = field(default_factory=Counter)
    pointwise: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    calls: Counter[Call] = field(default_factory=Counter)

    @property
    def flops(self) -> int:
        """Two a multiply-accumulate and one an elementwise operation."""
        return 2 * self.macs.total() + self.pointwise.total()

    @property
    def bytes(self) -> int:
        """Read and written."""
        return sum(count * call.bytes for call, count in self.calls.items())

    def add(self, other: Tally) -> None:
        self.macs.update(other.macs)
        self.pointwise.update(other.pointwise)
        self.uncounted.update(other.uncounted)
        self.calls.update(other.calls)


class _Counting(TorchDispatchMode):
    """Counts what comes by into the scope that is at work."""

    def __init__(self, scopes: Scopes):
        super().__init__()
        self.scopes = scopes
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.inside: list[Call] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        packet = func.overloadpacket
        name = packet.__name__
        if packet not in flop_registry and not _known(name):
            with self:
                decomposed = func.decompose(*args, **options)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **options)
        tally = self.tallies[self.scopes.current]
        macs = pointwise = 0
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **options, out_val=out) // 2
        elif name in _SOLVED:
            macs = _SOLVED[name](*args, **options)
        elif name in _AN_ELEMENT_OUT:
            pointwise = _AN_ELEMENT_OUT[name] * _numel(out)
        elif name in _AN_ELEMENT_IN:
            pointwise = _AN_ELEMENT_IN[name] * _numel(args)
        elif name in _WINDOWED:
            pointwise = math.prod(args[1]) * _numel(out)
        elif name not in _MOVES:
            tally.uncounted[name] += 1
        if macs:
            tally.macs[name] += macs
        if pointwise:
            tally.pointwise[name] += pointwise
        self._record(Call(name, macs, pointwise, moved(name, args, options, out), _format(out)))
        return out

    def _record(self, call: Call) -> None:
        if not call.flops and not call.bytes:
            return
        if self.inside is not None:
            self.inside.append(call)
        else:
            self.tallies[self.scopes.current].calls[call] += 1

    def as_one(self, name: str, function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        """Call `function`; its operators are recorded as one call, which reads its inputs and writes its result."""
        self.inside = parts = []
        try:
            out = function(*args, **options)
        finally:
            self.inside = None
        through = stored(tensors((*args, *options.values()))) + stored(tensors(out))
        macs, pointwise = (sum(getattr(part, kind) for part in parts) for kind in ("macs", "pointwise"))
        self._record(Call(name, macs, pointwise, through, _format(out)))
        return out


class _AttentionAsOne(TorchFunctionMode):
    """Takes attention for the one call that it is where it is fused."""

    def __init__(self, counting: _Counting):
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self.counting.as_one("scaled_dot_product_attention", func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_MOVES = FREE | FILLS | COPIES


def _known(name: str) -> bool:
    return any(name in rules for rules in (_MOVES, _AN_ELEMENT_OUT, _AN_ELEMENT_IN, _WINDOWED, _SOLVED))


def _numel(found: Any) -> int:
    """Elements of the first tensor: of an operator's result or of its arguments."""
    if isinstance(found, Tensor):
        return found.numel()
    return next((item.numel() for item in found if isinstance(item, Tensor)), 0)


def _format(found: Any) -> str:
    """The number format of the first tensor of a result."""
    return next((str(tensor.dtype).removeprefix("torch.") for tensor in tensors(found)), "")


@dataclass(frozen=True)
class Arithmetic:
    """What was counted: path of a module → what it did itself; and which modules were at work at all."""

    tallies: dict[str, Tally]
    visited: set[str]


@contextmanager
def counting(model: nn.Module) -> Iterator[Arithmetic]:
    """For the block, count what is calculated.

    A model that is shown frames by `step`, or a memory by `scan`, is counted as one by `forward`. Attention takes its
    plain form, since the fused one is one operator whose inside no counter sees. Backward passes are not counted.
    """
    with (
        watching(model) as scopes,
        sdpa_kernel(SDPBackend.MATH),
        _Counting(scopes) as mode,
        _AttentionAsOne(mode),
    ):
        yield Arithmetic(mode.tallies, scopes.visited)
