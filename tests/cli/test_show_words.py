"""`memx show` with a word too few, a capital too many, and a terminal that is too narrow."""

from __future__ import annotations

import pytest

from memx.cli.show import hanging


@pytest.fixture
def show(command):
    def run(*words):
        status, out, err = command("show", *words, columns=80)
        return status, out, " ".join(err.split())

    return run


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kda"], "say the kind, too: `memx show memory kda`"),
        (["memory"], "name the memory, as `memx list memory` prints it"),
        (["nonsense"], "no component is called 'nonsense'"),
        (["memory", "KDA"], "unknown memory 'KDA'; did you mean 'kda'?"),
    ],
)
def test_what_was_meant_is_said(show, words, says):
    status, out, err = show(*words)
    assert (status, out) == (2, "")
    assert says in err


def test_an_equation_goes_on_further_in(show):
    out = show("memory", "gated_delta_product")[1].splitlines()
    at = next(i for i, line in enumerate(out) if line.startswith("    S ← α S, then"))
    assert out[at + 1].startswith("        ")
    assert out[at + 1].strip()
    facts = {line.split()[0]: line.index(line.split()[1]) for line in out[-6:]}
    assert set(facts.values()) == {7}


def test_only_indented_lines_that_are_too_long_are_broken():
    assert hanging("short\n    a b\n" + "x " * 60, 20) == "short\n    a b\n" + ("x " * 60)
    assert hanging("    one two three four", 16) == "    one two\n        three\n        four"
