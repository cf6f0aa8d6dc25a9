"""`memx demo`: the whole path in minutes, on a phantom and on one real clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device, Overrides


def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for data, run and predictions.")] = Path("runs/demo"),
    patients: Annotated[int, typer.Option(min=4, help="Phantom patients to simulate.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantom.")] = 0,
    device: Device = "auto",
) -> None:
    """Write a phantom, train `gdkvm_phantom` on it, score unseen patients, and segment a real echocardiogram."""
    import json
    import shutil
    import time

    from pydicom.examples import get_path
    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.cli.evaluation import run_evaluation
    from memx.cli.prediction import prediction_table, run_prediction
    from memx.cli.progress import bar
    from memx.cli.training import run_training
    from memx.data import phantom
    from memx.errors import UserError
    from memx.recipe import Recipe

    console = Console(highlight=False)
    started = time.perf_counter()
    chosen = pick_device(device)
    data, run, predictions = out / "phantom", out / "run", out / "predictions"
    recipe = Recipe.load("gdkvm_phantom", [f"data.root={data}", *(overrides or [])])
    for old, ours in ((run, "manifest.json"), (predictions, "report.html")):
        if old.exists() and not (old / ours).is_file():
            raise UserError(f"{old}: is there and not from an earlier demo; choose another --out")
    made = {"layout": "camus", "seed": seed}
    if (data / "memx.json").is_file():
        found = json.loads((data / "memx.json").read_text(encoding="utf-8"))
        if {k: found.get(k) for k in made} != made or len(found.get("patients", [])) != patients:
            raise UserError(f"{data}: holds another phantom than was asked for; remove it or choose another --out")
    else:
        with bar("phantom", patients, "patients") as advance:
            phantom.write(data, layout="camus", patients=patients, seed=seed, progress=lambda done, total: advance())
    for old in (run, predictions):  # a demo starts afresh
        shutil.rmtree(old, ignore_errors=True)
    folder = run_training(recipe, out=run, device=chosen)
    scores, report = run_evaluation(folder, [], "test", chosen)
    clip = str(get_path("ybr_color"))
    found, shown = run_prediction(run, [clip], predictions, [], True, chosen)
    console.print()
    console.print(scores.table())
    console.print()
    console.print(prediction_table(found))
    console.print()
    console.print(f"report          {report}", soft_wrap=True)
    console.print(f"real clip       {shown}   (masks on it are shown, not scored)", soft_wrap=True)
    console.print(f"overlay video   {found[0].overlay}", soft_wrap=True)
    console.print(f"took            {(time.perf_counter() - started) / 60:.1f} minutes on {chosen}")
