"""What makes a clip one that cannot be trained on, whatever its layout."""

from __future__ import annotations

from collections.abc import Iterator

from memx.data.clip import Clip
from memx.errors import DataError


def clip_faults(clip: Clip, name: str) -> Iterator[DataError]:
    """Each thing that a layout's `load`, a plug-in's too, must not give; `name` says which clip where no file does.

    A clip has pixels, finite and in [0, 1], labels of 0 and more of the video's shape, and a label in a frame at least.
    """

    def fault(what: str, remedy: str) -> DataError:
        return DataError(what, file=clip.source, place="" if clip.source else name, remedy=remedy)

    t, _, y, x = clip.video.shape
    if not clip.video.numel():
        yield fault("has no pixels", "write the file again from its source")
        return
    low, high = (float(value) for value in clip.video.aminmax())
    if not (low >= 0 and high <= 1):
        what = f"pixels run from {low:g} to {high:g}, not in [0, 1]"
        yield fault(what, "write the file again from its source")
    if clip.labels is None or clip.labelled is None:
        yield fault("has no labels", "add its masks: training and evaluation need them, `memx predict` does not")
    elif clip.labels.shape != (t, y, x) or clip.labelled.shape != (t,):
        shapes = f"labels of shape {tuple(clip.labels.shape)}, flags of shape {tuple(clip.labelled.shape)}"
        yield fault(f"{shapes}; the video has (t, y, x) = {(t, y, x)}", "mend the layout's load")
    elif not bool(clip.labelled.any()):
        yield fault("no frame has a label", "label at least two frames, or leave the clip out")
    elif int(clip.labels.min()) < 0:
        yield fault(f"a label of {int(clip.labels.min())}", "labels are 0, 1, 2, …: write it again")
