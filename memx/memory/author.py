"""What an author's memory must be before it can be held to a law: a Memory whose methods return what they should."""

from __future__ import annotations

import inspect

from torch import Tensor

from memx.errors import RecipeError
from memx.memory.base import Memory, Tokens
from memx.memory.drawing import space_of
from memx.memory.state import State
from memx.registry import Entry, build_part

FACTS = ("key_dim", "value_dim", "feature_dim")
"""What a model supplies to a memory."""


def hold_to_contract(entry: Entry) -> None:
    """Build the memory, take it through one frame, and look at the types and shapes of what comes back.

    What its own code raises is left to the laws, which show it with its line.
    Raises RecipeError with a sentence that names the method and what it must give; and as `Space.sizes` does.
    """
    if wrong := _mistake(entry):
        raise RecipeError(f"memory {entry.name!r}: {wrong}")


def _mistake(entry: Entry) -> str:
    if inspect.isclass(entry.factory) and not issubclass(entry.factory, Memory):
        return f"{entry.factory.__name__} is no memx.Memory: write `class {entry.factory.__name__}(memx.Memory)`"
    if strange := [name for name in entry.facts if name not in FACTS]:
        return (
            f"{', '.join(strange)} stands before the `*`, where a memory is given only {', '.join(FACTS)}; options of "
            f"your own stand after it"
        )
    space = space_of(entry)
    case = space.usual
    facts = {name: getattr(case, name) for name in FACTS}
    try:
        memory = build_part(space.part(space.base), **facts)
    except RecipeError:
        raise
    except Exception:
        return ""
    if not isinstance(memory, Memory):
        return f"it builds a {type(memory).__name__}, which is no memx.Memory"
    try:
        return _wrong_forms(memory) or _wrong_return(memory.double(), case.batch, case.objects, case.clip().frame(0))
    except Exception:
        return ""


def _wrong_forms(memory: Memory) -> str:
    forms = memory.forms
    if isinstance(forms, str):
        return f'`forms` is the text "{forms}": it must be a tuple of names, `forms = ("{forms}",)`'
    if callable(forms):
        return "`forms` is a method: make it a tuple of names, or put @property above it"
    if not isinstance(forms, tuple | list) or not all(isinstance(form, str) for form in forms):
        return f"`forms` is {forms!r}: it must be a tuple of names, such as ('recurrent',)"
    return "" if forms else "`forms` is empty: it must name at least 'recurrent'"


def _wrong_return(memory: Memory, batch: int, objects: int, frame: Tokens) -> str:
    state = memory.init_state(batch, objects, dtype=frame.value.dtype)
    if not isinstance(state, State):
        return f"init_state returns {_a(state)}: it must return the empty state, `memx.State(S=…)`"
    for name, x in state.tensors().items():
        if x.ndim < 1 or x.shape[0] != batch:
            return (
                f"init_state returns {name} of shape {tuple(x.shape)} for a batch of {batch}: the batch must be the "
                f"first axis of every tensor"
            )
    written = memory.write(state, frame)
    if not isinstance(written, State):
        return f"write returns {_a(written)}: it must return the state after the frame, `state.replace(S=…)`"
    out = memory.read(written, frame)
    if not isinstance(out, Tensor):
        return f"read returns {_a(out)}: it must return the readouts, a tensor (b o n v)"
    if out.shape != frame.value.shape:
        return (
            f"read returns a tensor of shape {tuple(out.shape)}: it must be (b o n v), here {tuple(frame.value.shape)}"
        )
    return ""


def _a(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
