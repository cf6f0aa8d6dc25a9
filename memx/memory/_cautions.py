"""What may go wrong with options that are allowed."""

from __future__ import annotations

from memx.memory._features import FeatureMap, KeyNorm

_WAYS_OUT = "normalize: tokens or spectral, or write: tokens with key_norm: l2, removes this limit."


def joint_erase(tokens: int, key_dim: int, key_norm: FeatureMap | KeyNorm, strongest: float) -> list[str]:
    """That a joint write with β up to `strongest`, G not normalised, can expand the state; nothing where it cannot.

    It does not while β λ_max(G) < 2. G = Σ k kᵀ over the tokens of a frame, so λ_max(G) is at most the sum of their
    squared norms: `tokens` for softmax and l2 keys. For softmax keys that differ it is about tokens / key_dim.
    """
    rule = "write: joint without normalize lets the state grow once β λ_max(G) exceeds 2"
    if key_norm not in ("softmax", "l2"):
        return [
            f"{rule}, and with key_norm: {key_norm} nothing bounds λ_max(G); here β reaches {strongest:g}. {_WAYS_OUT}"
        ]
    if strongest * tokens <= 2:
        return []
    worst = f"at most {tokens} (β at most {2 / tokens:.2g})"
    if key_norm == "softmax":
        usual = tokens / key_dim
        figures = f"about {usual:.3g} for keys that differ (β at most {2 / usual:.2g}) and {worst} for keys that agree"
    else:
        figures = worst
    return [
        f"{rule}: with {tokens} tokens and {key_dim} {key_norm} key channels λ_max(G) is {figures}, "
        f"and β reaches {strongest:g}. {_WAYS_OUT}"
    ]
