"""The time left is that of the steps to come at the speed of this command's own steps."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from memx.cli.progress import bar


def test_steps_done_before_say_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 of 100 were done before; 10 more at 2 s each leave 40, so 80 s."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    text = io.StringIO()
    with bar("training", 100, "steps", console=Console(file=text, width=200)) as advance:
        now[0] += 30
        advance(note="resumed", steps=50, before=True)
        for _ in range(10):
            now[0] += 2
            advance()
    assert text.getvalue() == "training 60/100 steps  2.00 s each  20 s, 80 s left\n"


def test_the_bar_forgets_what_was_done_before() -> None:
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True)
    with bar("training", 1000, "steps", console=console) as advance:
        advance(note="resumed", steps=900, before=True)
        time.sleep(0.2)
        advance()
        time.sleep(0.2)
        advance()
    assert "902/1000" in text.getvalue()
    speeds = [word for word in text.getvalue().split() if word.endswith("/s")]
    assert all(float(word[:-2]) < 50 for word in speeds)
