"""Structures that a layout names and that a clip's masks do not have at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from memx.data.check.clips import LV, masks_of
from memx.data.check.facts import Facts
from memx.data.check.problem import Problem, error, warning


def missing_structures(facts: Sequence[Facts], names: Mapping[int, str]) -> Iterator[Problem]:
    """Named structures that are in no labelled frame of a clip.

    An error where other clips have the structure, and always for the left ventricle: it would be learnt as background.
    One that no clip has was not annotated in this data set, which is a warning.
    """
    known = [fact for fact in facts if fact.present is not None and any(value for value in fact.present)]
    for value, name in names.items():
        if value == 0 or not known:
            continue
        without = [fact for fact in known if not (fact.present or {}).get(value)]
        if name != LV and len(without) == len(known):
            what = f"no {name} (label {value}) in any mask"
            yield warning("data set", what, f"leave {name} out of the recipe's structures")
            continue
        for fact in without:
            frames = "any labelled frame" if fact.labelled != 1 else "its labelled frame"
            remedy = "draw it, or leave the clip out: it would be learnt as background"
            yield error(masks_of(fact.case), f"no {name} (label {value}) in {frames}", remedy, fact.case)
