"""Ctrl-C in any command: one sentence instead of silence or a traceback."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from memx.errors import InterruptedRunError


class Interruptible(TyperGroup):
    """Commands that Ctrl-C ends with what was interrupted, and exit status 130; typer alone would say nothing.

    Commands that keep something say so themselves, by an error of their own.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            from memx.engine.interruption import exit_status

            name = f"memx {ctx.invoked_subcommand}" if ctx.invoked_subcommand else "memx"
            raise InterruptedRunError(
                f"{name} was interrupted; files that it had finished are whole, and none is half written",
                status=exit_status(stop),
            ) from stop
