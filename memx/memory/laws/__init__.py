"""The laws that every memory obeys, as plain functions: the tests hold all registered ones to them.

A law takes a factory (anything that builds a memory from `key_dim`, `value_dim`, `feature_dim`: a class, a
functools.partial, a registry Part) and a Case. It returns nothing when the law is kept, raises BrokenLawError with
the figures when it is not, and NotApplicableError where it says nothing about this memory. `memx.memory.verify` draws
the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memx.memory.laws.case import BrokenLawError, Case, Factory, NotApplicableError
from memx.memory.laws.causality import a_reset_starts_afresh, resets_cut_a_clip, the_future_leaves_the_past
from memx.memory.laws.cost import cost_is_what_is_counted
from memx.memory.laws.forms import forms_equal_the_fold, no_frames_change_nothing, runs_repeat, splits_do_not_matter
from memx.memory.laws.numerics import autocast_keeps_the_state, extremes_stay_finite, gradients_are_right
from memx.memory.laws.symmetry import batch_items_are_apart, heads_permute, objects_permute
from memx.memory.laws.tensors import inputs_are_not_changed, saving_is_exact, strides_do_not_matter

Law = Callable[[Factory, Case], None]

LAWS: Sequence[Law] = (
    inputs_are_not_changed,
    runs_repeat,
    forms_equal_the_fold,
    splits_do_not_matter,
    batch_items_are_apart,
    objects_permute,
    heads_permute,
    the_future_leaves_the_past,
    a_reset_starts_afresh,
    resets_cut_a_clip,
    extremes_stay_finite,
    gradients_are_right,
    autocast_keeps_the_state,
    strides_do_not_matter,
    saving_is_exact,
    cost_is_what_is_counted,
    no_frames_change_nothing,
)
"""All laws; a function's name is the law's name, and the first line of its docstring states it.

What breaks many laws at once stands first: changes in place, then randomness.
"""

AT_LENGTH: Sequence[Law] = (forms_equal_the_fold, splits_do_not_matter)
"""Laws that are also held in a long clip and in large frames: those about forms, which may cut both."""
