"""What may go wrong with options that are allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memx.memory._features import FeatureMap, KeyNorm
from memx.ops.frame import Normalize

_ROWS = 2 / math.sqrt(3)
_UNIT_MAPS = ("softmax", "l2")
"""Maps whose keys have a norm of at most 1."""


@dataclass(frozen=True)
class Erase:
    """How a memory erases what keys recall: jointly, S ← S − β G S with G = Σ k kᵀ, or in steps S ← S − β k kᵀ S."""

    joint: bool
    key_norm: FeatureMap | KeyNorm
    strongest: float
    """The largest β."""
    normalize: Normalize = "none"
    by_row: bool = False
    """Whether every row of S has a β of its own (gates: state)."""

    def cautions(self, tokens: int, key_dim: int) -> list[str]:
        """How frames of so many tokens can expand the state, one sentence a way, and what prevents it."""
        if not self.joint:
            found = self._steps()
        elif self.normalize == "none":
            found = self._plain(tokens, key_dim)
        else:
            found = self._divided()
        return [*found, *(self._rows() if self.by_row and key_dim > 1 else [])]

    def _steps(self) -> list[str]:
        rule = "write: tokens lets a token expand the state where β |k|² exceeds 2"
        if self.key_norm not in _UNIT_MAPS:
            more = ", and β must stay within 2" if self.strongest > 2 else ""
            return [
                f"{rule}: key_norm: {self.key_norm} bounds no |k|, and β reaches {self.strongest:g}. "
                f"key_norm: l2 or softmax bounds |k| by 1{more}."
            ]
        if self.strongest > 2:
            return [f"{rule}: {self.key_norm} keys reach |k| = 1, and β is {self.strongest:g}. β must stay within 2."]
        return []

    def _plain(self, tokens: int, key_dim: int) -> list[str]:
        """β λ_max(G) ≤ 2 is needed. λ_max(G) is at most Σ |k|², and about tokens / key_dim for softmax keys."""
        rule = "write: joint without normalize lets the state grow once β λ_max(G) exceeds 2"
        if self.key_norm not in _UNIT_MAPS:
            return [
                f"{rule}, and with key_norm: {self.key_norm} nothing bounds λ_max(G); here β reaches "
                f"{self.strongest:g}. normalize: spectral removes this limit; so do normalize: tokens and "
                f"write: tokens once key_norm is l2 or softmax."
            ]
        if self.strongest * tokens <= 2:
            return []
        worst = f"at most {tokens} (β at most {2 / tokens:.2g})"
        figures = worst
        if self.key_norm == "softmax":
            usual = tokens / key_dim
            spread = f"about {usual:.3g} for keys that differ (β at most {2 / usual:.2g})"
            figures = f"{spread} and {worst} for keys that agree"
        return [
            f"{rule}: with {tokens} tokens and {key_dim} {self.key_norm} key channels λ_max(G) is {figures}, and β "
            f"reaches {self.strongest:g}. normalize: tokens or spectral, or write: tokens, removes this limit."
        ]

    def _divided(self) -> list[str]:
        if self.strongest > 2:
            return [f"β is {self.strongest:g}: a normalised erase expands the state where β exceeds 2."]
        if self.normalize == "tokens" and self.key_norm not in _UNIT_MAPS:
            return [
                f"normalize: tokens divides G by the number of tokens, which bounds λ_max(G) only where the keys are "
                f"bounded, and key_norm: {self.key_norm} bounds none; here β reaches {self.strongest:g}. "
                f"key_norm: l2 or softmax, or normalize: spectral, removes this limit."
            ]
        return []

    def _rows(self) -> list[str]:
        """‖I − D G‖ is up to 2/√3 for a diagonal 0 ≤ D ≤ 1 and every G with eigenvalues between 0 and 1."""
        what, bound = ("a frame", "λ_max(G)") if self.joint else ("a token", "|k|")
        return [
            f"with gates: state every row of the state has a β of its own: even where {bound} is at most 1, {what} can "
            f"expand the state by up to 2/√3 ≈ {_ROWS:.3f}, again and again while α allows it. gates: token has one β "
            f"for all rows; an α of at most √3/2 makes up for one such expansion."
        ]


def raw_decay() -> list[str]:
    """That α is a negative number of any size."""
    return ["decay: raw sets α = a, which nothing bounds by −1: where it is below, every frame expands the state."]
