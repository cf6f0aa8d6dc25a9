"""From the network that is trained to the one that is run: module by module, known blocks get their fused form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memx.models.optimize.convolution import Activation, FusedConv2d

Rule = Callable[[Any, "Lowering"], nn.Module | None]
_RULES: dict[type[nn.Module], Rule] = {}


def lowers(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register how blocks of these classes are lowered; the rule returns None for a block that it cannot lower.

    A block without a rule keeps its code, and its parts are lowered one by one.
    """

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


class Lowering:
    """Lower one network: what its blocks share.

    dtype  that convolutions calculate in; None: what their weights are
    """

    def __init__(self, dtype: torch.dtype | None = None):
        self.dtype = dtype
        self._made: dict[int, nn.Module] = {}

    def __call__(self, module: nn.Module) -> nn.Module:
        """The module in the form in which it is run, with weights of its own; the one handed in stays as it is."""
        if id(module) not in self._made:
            self._made[id(module)] = self._lowered(module).train(module.training)
        return self._made[id(module)]

    def _lowered(self, module: nn.Module) -> nn.Module:
        rule = _RULES.get(type(module))
        made = None if rule is None else rule(module, self)
        if made is not None:
            return made
        if type(module) is nn.Conv2d and not isinstance(module.padding, str) and module.padding_mode == "zeros":
            return self.conv(module)
        parts = {id(part): self(part) for part in module.children()}
        return copy.deepcopy(module, dict(parts)).requires_grad_(requires_grad=False)

    def conv(self, conv: nn.Conv2d, norm: nn.Module | None = None, activation: Activation = "none") -> FusedConv2d:
        return FusedConv2d(conv, norm, activation, dtype=self.dtype)
