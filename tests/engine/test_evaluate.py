"""Evaluation: masks at the truth's own size, scored as the protocol says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from memx.engine.datasets import find_cases
from memx.engine.evaluate import evaluate
from memx.engine.segment import label_map
from memx.errors import DataError
from memx.memory.state import State
from memx.metrics.rows import Row
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.recipe import Recipe


class Constant(VideoModel):
    """Gives every pixel the same two logits."""

    def __init__(self, foreground: float):
        super().__init__()
        self.foreground = foreground

    def forward(self, video: torch.Tensor, objects: int = 1, *, auxiliary: bool | None = None) -> Output:
        b, t, _, y, x = video.shape
        logits = torch.zeros(b, t, objects + 1, y, x)
        logits[:, :, 1:] = self.foreground
        return Output(logits.softmax(2)[:, :, 1:], logits)

    def init_state(self, *args: object, **options: object) -> State:
        return State()


@pytest.fixture
def recipe(phantom_root: Path) -> Recipe:
    return Recipe.load("gdkvm_phantom", [f"data.root={phantom_root}", "data.size=32", "data.frames=4"])


def test_a_model_that_finds_everything_scores_the_share_of_the_structure(recipe: Recipe) -> None:
    found = evaluate(Constant(9.0), recipe, "test")
    layout, cases = find_cases(recipe, "test")
    first = layout.load(cases[0])
    assert first.labels is not None
    share = float((first.labels[first.ed or 0] == 1).double().mean())
    row = next(r for r in found.scores.rows if (r.view, r.phase) == (first.view, "ED") and r.patient == first.patient)
    assert row.dice == pytest.approx(2 * share / (1 + share), abs=1e-9)
    assert row.iou == pytest.approx(share, abs=1e-9)
    assert row.unit == "mm"


def mean_dice(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """(patient, view) → mean over its masks."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.dice is not None:
            found.setdefault((row.patient, row.view), []).append(row.dice)
    return {clip: sum(values) / len(values) for clip, values in found.items()}


@pytest.mark.parametrize("protocol", ["memx-1", "gdkvm-release-2025"])
def test_the_clips_kept_are_the_worst_by_the_protocols_dice(recipe: Recipe, protocol: str) -> None:
    named = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"protocol": protocol})})
    found = evaluate(Constant(9.0), named, "train", examples=3)
    means = mean_dice(found.scores.rows)
    assert [clip.mean_dice for clip in found.worst] == pytest.approx(sorted(means.values())[:3])
    layout, cases = find_cases(named, "train")
    for clip in found.worst:
        assert clip.mean_dice == pytest.approx(means[clip.patient, clip.view])
        assert clip.prediction.all(), "this model finds everything in every frame"
        case = next(case for case in cases if (case.patient, case.view) == (clip.patient, clip.view))
        labels = layout.load(case).labels
        assert labels is not None
        np.testing.assert_array_equal(clip.truth[0], labels[list(clip.clip_frames)] == 1)
        assert (clip.ed, clip.es) in ((0, 3), (3, 0))
    assert evaluate(Constant(9.0), named, "train", examples=0).worst == ()


def test_frames_without_a_score_are_shown_with_their_truth_or_without(recipe: Recipe) -> None:
    ends = recipe.model_copy(update={"data": recipe.data.model_copy(update={"supervision": "ends"})})
    clip = evaluate(Constant(9.0), ends, "test", examples=1).worst[0]
    assert sorted(clip.dice) == [0, 3]
    assert clip.labelled == (0, 1, 2, 3)
    assert [clip.caption(t).split(" · ")[1:] for t in (0, 1)][1] == []
    assert "Dice" in clip.caption(0)


def test_a_model_that_finds_nothing_scores_zero_and_nothing_is_dropped(recipe: Recipe) -> None:
    found = evaluate(Constant(-9.0), recipe, "test")
    assert {row.dice for row in found.scores.rows} == {0.0}
    assert {row.outcome for row in found.scores.rows} == {"prediction_empty"}
    assert found.mean_dice == 0


def test_the_protocol_changes_the_scores_and_not_what_chooses_the_weights(recipe: Recipe) -> None:
    release = recipe.model_copy(
        update={"evaluate": recipe.evaluate.model_copy(update={"protocol": "gdkvm-release-2025"})}
    )
    ours, theirs = (evaluate(Constant(-9.0), one, "test", examples=2) for one in (recipe, release))
    assert (ours.scores.protocol, theirs.scores.protocol) == ("memx-1", "gdkvm-release-2025")
    assert ours.mean_dice == theirs.mean_dice == 0
    found = [row.dice for row in theirs.scores.rows]
    assert all(dice is not None and 0.1 < dice < 0.9 for dice in found)


def test_clips_with_every_frame_labelled_have_area_curves(recipe: Recipe) -> None:
    scores = evaluate(Constant(9.0), recipe, "test").scores
    assert len(scores.clips) == len(find_cases(recipe, "test")[1])
    assert scores.clips_left_out == 0
    course = scores.clips[0]
    assert course.frames == [0, 1, 2, 3]
    assert all(row.area_truth and row.area_prediction and row.area_truth < row.area_prediction for row in course.rows)
    ends = recipe.model_copy(update={"data": recipe.data.model_copy(update={"supervision": "ends"})})
    assert evaluate(Constant(9.0), ends, "test").scores.clips == []


def test_ends_scores_ed_and_es_only(recipe: Recipe) -> None:
    ends = recipe.model_copy(update={"data": recipe.data.model_copy(update={"supervision": "ends"})})
    rows = evaluate(Constant(9.0), ends, "test").scores.rows
    assert {row.phase for row in rows} == {"ED", "ES"}
    cases = find_cases(recipe, "test")[1]
    assert len(rows) == 2 * len(cases)
    everything = evaluate(Constant(9.0), recipe, "test").scores.rows
    assert len(everything) == 4 * len(cases)


def test_ends_are_the_first_and_last_labelled_frames(tmp_path: Path) -> None:
    """As in training: EchoNet's two traced frames lie inside the clip."""
    from memx.data import phantom

    phantom.write(tmp_path / "echo", layout="echonet", patients=3, seed=1, size=64)
    words = [f"data.root={tmp_path / 'echo'}", "data.layout=echonet", "data.sampling=all", "data.supervision=ends"]
    rows = evaluate(Constant(9.0), Recipe.load("gdkvm_phantom", [*words, "data.size=32"]), "test").scores.rows
    assert len(rows) == 2
    assert {row.phase for row in rows} == {"ED", "ES"}


def test_evaluation_leaves_the_mode_as_it_was(recipe: Recipe) -> None:
    for mode in (True, False):
        model = Constant(1.0).train(mode)
        evaluate(model, recipe, "val")
        assert model.training is mode


def test_no_root_says_where_data_come_from() -> None:
    with pytest.raises(DataError) as caught:
        find_cases(Recipe.load("gdkvm_camus"), "train")
    message = str(caught.value)
    assert "data.root is not set" in message
    for expected in ("creatis", "data.root=", "memx data phantom"):
        assert expected in message


def test_probabilities_are_resized_not_labels() -> None:
    logits = torch.tensor([[[[4.0, 4.0], [4.0, 4.0]], [[8.0, 0.0], [8.0, 0.0]]]])
    labels = label_map(logits, (2, 8))
    assert labels.shape == (1, 2, 8)
    assert labels[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert np.unique(label_map(logits, (2, 2)).numpy()).tolist() == [0, 1]
