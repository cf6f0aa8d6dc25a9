"""optuna-dashboard reads a study of memx."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memx.recipe import Recipe
from memx.search.start import start
from memx.search.storage import open_storage
from memx.search.trial import Trials
from memx.search.worker import Worker


def get(application: Any, path: str) -> Any:
    """The answer of its interface, without a server."""
    said: list[str] = []
    environment = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "here", "SERVER_PORT": "80"}
    environment |= {"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http"}
    body = b"".join(application(environment, lambda status, headers, error=None: said.append(status)))
    assert said == ["200 OK"], (said, body)
    return json.loads(body)


def test_the_dashboard_reads_a_study(write_search: Callable[..., Path], no_reports: None, tmp_path: Path) -> None:
    """Its trials, values, parameters, those of a choice included, and validation curves, as memx shows them."""
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    recipe = Recipe.load(write_search(trials=2), ["train.iterations=2", "train.validate_every=1"])
    started = start(recipe, out=tmp_path / "out")
    Worker(started.study, Trials(recipe, started.folder)).run()
    application = dashboard.wsgi(open_storage(started.url))
    (summary,) = get(application, "/api/studies")["study_summaries"]
    assert summary["study_name"] == started.study.study_name
    shown = get(application, f"/api/studies/{summary['study_id']}")
    assert shown["objective_names"] == ["dice"]
    rows = started.standing().trials
    assert len(shown["trials"]) == len(rows) == 2
    for trial, row in zip(shown["trials"], rows, strict=True):
        assert trial["state"] == "Complete"
        assert trial["values"] == [row.measures["dice"]]
        assert {p["name"] for p in trial["params"]} == set(row.parameters)
        assert [(v["step"], v["value"]) for v in trial["intermediate_values"]] == list(row.curve)
