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


def with_options(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    """The recipe with options of its sections changed."""
    return recipe.model_copy(
        update={name: getattr(recipe, name).model_copy(update=options) for name, options in sections.items()}
    )


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
    named = with_options(recipe, evaluate={"protocol": protocol})
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
    ends = with_options(recipe, data={"supervision": "ends"})
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
    release = with_options(recipe, evaluate={"protocol": "gdkvm-release-2025"})
    ours, theirs = (evaluate(Constant(-9.0), one, "test", examples=2) for one in (recipe, release))
    assert (ours.scores.protocol, theirs.scores.protocol) == ("memx-1", "gdkvm-release-2025")
    assert ours.mean_dice == theirs.mean_dice == 0
    found = [row.dice for row in theirs.scores.rows]
    assert all(dice is not None and 0.1 < dice < 0.9 for dice in found)


def test_clips_with_every_frame_labelled_have_area_curves(recipe: Recipe) -> None:
    """`evaluate` says so, whatever the training took; where frames are skipped, nothing is said over time."""
    layout, cases = find_cases(recipe, "test")
    ends = with_options(recipe, data={"supervision": "ends"})
    scores = evaluate(Constant(9.0), with_options(ends, evaluate={"frames": "all", "masks": "all"}), "test").scores
    assert [len(course.rows) for course in scores.clips] == [len(layout.load(case)) for case in cases]
    assert scores.clips_left_out == 0
    course = scores.clips[0]
    assert course.frames == list(range(len(course.rows)))
    assert all(row.area_truth and row.area_prediction and row.area_truth < row.area_prediction for row in course.rows)
    for other in (ends, recipe, with_options(recipe, evaluate={"frames": "all", "masks": "ends"})):
        found = evaluate(Constant(9.0), other, "test").scores
        assert found.clips == []
        assert found.clips_left_out == len(cases)


def test_a_mask_is_scored_once_however_often_its_frame_is_sampled(recipe: Recipe) -> None:
    """Ten frames of clips that have fewer: as many rows as frames, of which ED and ES keep their phase."""
    layout, cases = find_cases(recipe, "test")
    clips = {(clip.patient, clip.view): clip for clip in map(layout.load, cases)}
    assert max(map(len, clips.values())) < 40
    for sampling in ("ed_es", "window"):
        rows = evaluate(
            Constant(9.0), with_options(recipe, data={"frames": 40, "sampling": sampling}), "test"
        ).scores.rows
        for name, clip in clips.items():
            mine = [row for row in rows if (row.patient, row.view) == name]
            assert [row.clip_frame for row in mine] == list(range(len(clip)))
            assert {row.phase: row.clip_frame for row in mine if row.phase != "other"} == {"ED": clip.ed, "ES": clip.es}


def test_distances_and_areas_are_in_the_millimetres_of_the_truth(tmp_path: Path) -> None:
    """Of clips that are neither square nor of the model's size, and whose pixels are taller than wide."""
    from memx.data import phantom

    phantom.write(tmp_path / "tall", layout="camus", patients=4, seed=1, size=96, frames=4, aspect=0.5)
    words = [f"data.root={tmp_path / 'tall'}", "data.size=32", "data.frames=4"]
    recipe = Recipe.load("gdkvm_phantom", words)
    layout, cases = find_cases(recipe, "train")
    clips = {(clip.patient, clip.view): clip for clip in map(layout.load, cases)}
    for row in evaluate(Constant(9.0), recipe, "train").scores.rows:
        clip = clips[row.patient, row.view]
        assert clip.spacing is not None
        assert clip.labels is not None
        height, width = (side * mm for side, mm in zip(clip.size, clip.spacing, strict=True))
        assert abs(clip.spacing[0] / clip.spacing[1] - 1) > 0.2
        assert clip.size[0] != clip.size[1]
        assert row.unit == "mm"
        assert row.area_prediction == pytest.approx(height * width), "every pixel is foreground"
        pixel = clip.spacing[0] * clip.spacing[1]
        assert row.area_truth == pytest.approx(float((clip.labels[row.clip_frame] == 1).sum()) * pixel)
        y, x = np.nonzero((clip.labels[row.clip_frame] == 1).numpy())
        corners = [(0, 0), (0, clip.size[1] - 1), (clip.size[0] - 1, 0), (clip.size[0] - 1, clip.size[1] - 1)]
        farthest = max(
            np.hypot((y - corner[0]) * clip.spacing[0], (x - corner[1]) * clip.spacing[1]).min() for corner in corners
        )
        assert row.hd == pytest.approx(farthest), "from a corner of the picture to the ventricle"


def test_ends_scores_ed_and_es_only(recipe: Recipe) -> None:
    ends = with_options(recipe, data={"supervision": "ends"})
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
