"""`memx search [RECIPE]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device, Overrides


def search(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe with a `search:`; none: search_memory, on a phantom.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder; none: searches/<name>_<hash>.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine that take trials.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="OPTUNA_STORAGE",
            help="URL of the study's storage: sqlite:///FILE, postgresql+psycopg://…, journal:FILE; none: study.db "
            "in the folder.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; none: the folder's.", show_default=False)
    ] = None,
    heartbeat: Annotated[
        int,
        typer.Option(min=1, help="Seconds between signs of life; after three without one a trial is taken up again."),
    ] = 20,
    show: Annotated[
        str | None,
        typer.Option(help="Show a search's folder, or a study in --storage; nothing is trained.", show_default=False),
    ] = None,
    device: Device = "auto",
    as_worker: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Search a recipe's space: every trial is a run folder, every winner a recipe. The same command goes on with it."""
    from memx.cli.common import pick_device, split_overrides
    from memx.cli.searching import ask, run_search, show_search, work
    from memx.errors import UserError

    if show is not None:
        surplus = [recipe or "", *(overrides or [])]
        surplus += [f"--out {out}"] * (out is not None) + [f"--study {study}"] * (study is not None)
        surplus += [f"--workers {workers}"] * (workers != 1)
        if words := ", ".join(filter(None, surplus)):
            raise UserError(
                f"--show takes a folder, or a study and its --storage, and nothing else; leave {words} away"
            )
        show_search(show, storage)
        return
    chosen = pick_device(device)
    if as_worker is not None:
        if out is None:
            raise UserError("--as-worker needs --out")
        work(out, storage, study, heartbeat, chosen)
        return
    names, words = split_overrides([word for word in (recipe, *(overrides or [])) if word])
    if len(names) > 1:
        raise UserError(f"one recipe at a time; got {', '.join(names)}")
    found = ask(names[0] if names else None, words)
    run_search(found, out=out, workers=workers, storage=storage, study=study, heartbeat=heartbeat, device=chosen)
