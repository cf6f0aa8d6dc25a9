"""Figures as tables, tiles and sentences write them."""

from __future__ import annotations


def mib(count: float) -> str:
    """Bytes in MiB, or in KiB where they are fewer than one of them."""
    return f"{count / 2**20:,.2f} MiB" if abs(count) >= 2**20 else f"{count / 2**10:,.2f} KiB"


def millions(count: float) -> str:
    """A count in thousands, millions or billions to three digits: 980 k, 1.4 M, 21.3 G."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= 0.9995 * size:
            value = count / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:,.{digits}f} {sign}"
    return f"{count:,.0f}"


def short_bytes(count: float) -> str:
    """Bytes to three digits, as tiles have them: 13.5 KiB, 143 KiB, 5.34 MiB."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(count) >= size:
            value = count / size
            return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{count:,.0f} B"


def times(ratio: float) -> str:
    """A ratio to two places below ten, to one below a hundred: 0.99 ×, 14.2 ×, 350 ×."""
    return f"{ratio:,.{2 if ratio < 9.995 else 1 if ratio < 99.95 else 0}f} ×"
