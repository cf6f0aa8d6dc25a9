"""The two forms in which a recurrence over tokens is computed."""

from __future__ import annotations

from typing import Literal, get_args

Form = Literal["chunk", "recurrent"]


def check_form(op: str, form: str, chunk_size: int | None) -> None:
    """Raise ValueError for a form that there is not, and for a chunk that is no whole number of tokens."""
    if form not in get_args(Form):
        raise ValueError(f"{op}: there is no form {form!r}; there are 'chunk' and 'recurrent'")
    if chunk_size is not None and not (isinstance(chunk_size, int) and chunk_size >= 1):
        raise ValueError(f"{op}: chunk_size must be an integer of at least 1, not {chunk_size!r}")
