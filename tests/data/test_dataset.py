"""The training data set: items, determinism, resuming, caching, refusals, and the fingerprint."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from memx.data import Case, Clip, ClipDataset, Layout, collate, fingerprint, with_channels
from memx.data.camus import Camus
from memx.data.echonet import EchoNet
from memx.data.folder import Folder
from memx.data.transforms import Contrast, Gamma, Rotate, Scale
from memx.errors import DataError
from memx.registry import layouts

HEART = {"lv": [1], "epi": [1, 2], "la": [3]}
AUGMENT = (Gamma(), Scale(), Rotate(), Contrast())


class Invented(Layout):
    """Twelve frames a case, all labelled, whose pixels are the case's number; it counts what it loads."""

    def __init__(self, **changes):
        self.loads: list[str] = []
        self.changes = changes

    def load(self, case: Case) -> Clip:
        self.loads.append(case.id)
        generator = torch.Generator().manual_seed(int(case.id))
        clip = Clip(
            video=torch.rand(12, 1, 20, 14, generator=generator),
            labels=torch.randint(0, 4, (12, 20, 14), generator=generator),
            labelled=torch.ones(12, dtype=torch.bool),
            spacing=(0.3, 0.2),
            ed=1,
            es=10,
        )
        return clip.replace(**self.changes)


def _cases(n: int = 5) -> list[Case]:
    return [Case(str(i), str(i), "4CH", "train") for i in range(n)]


def _dataset(layout: Layout | None = None, cases: list[Case] | None = None, **options) -> ClipDataset:
    options = {"size": 16, "structures": HEART, **options}
    return ClipDataset(layout or Invented(), cases or _cases(), **options)


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)


def test_layouts_are_registered():
    assert {"camus", "echonet", "folder"} <= set(layouts.names())
    for name in ("camus", "echonet", "folder"):
        entry = layouts[name]
        assert entry.facts == ()
        assert all(field.description for field in entry.options.model_fields.values())
    assert isinstance(layouts.build("camus", views=["4CH"]), Camus)


def test_an_item_has_the_shapes_and_values_it_says():
    item = _dataset(size=(16, 24), frames=7, channels=3)[2]
    assert item["video"].shape == (7, 3, 16, 24)
    assert item["video"].dtype == torch.float32
    assert item["masks"].shape == (7, 3, 16, 24)
    assert item["masks"].dtype == torch.float32
    assert item["masks"].unique().tolist() == [0, 1]
    assert item["labelled"].all()
    assert item["supervised"].nonzero()[:, 0].tolist() == [0, 6]
    assert item["index"] == 2
    assert (item["masks"][:, 0] <= item["masks"][:, 1]).all()  # the LV lies inside LV and myocardium


def test_supervision_all_takes_every_labelled_frame():
    item = _dataset(frames=7, supervision="all")[0]
    assert item["supervised"].all()


def test_unlabelled_frames_are_flagged_and_empty(make_echonet):
    layout = EchoNet()
    dataset = _dataset(layout, layout.cases(make_echonet()), structures={"lv": [1]}, frames=5)
    for i in range(3):  # in A, ED comes before ES; in B and C after
        item = dataset[i]
        assert item["labelled"].tolist() == [True, False, False, False, True]
        assert item["supervised"].tolist() == item["labelled"].tolist()
        areas = item["masks"].sum((1, 2, 3))
        assert areas[0] > areas[4] > 0
        assert areas[1:4].sum() == 0
        assert layout.load(dataset.cases[i]).labelled.sum() == 2


def test_a_sparse_clip_taken_whole_supervises_the_labelled_ends(make_folder):
    layout = Folder()
    dataset = _dataset(layout, layout.cases(make_folder()), sampling="all")
    item = dataset[0]
    assert item["labelled"].nonzero()[:, 0].tolist() == [0, 3, 6, 9]
    assert item["supervised"].nonzero()[:, 0].tolist() == [0, 9]


def test_camus_trains_from_ed_to_es_on_a_square(make_camus):
    layout = Camus()
    dataset = _dataset(layout, layout.cases(make_camus(backwards=("patient0001_4CH",))), size=24, frames=10)
    items = [dataset[i] for i in range(4)]
    assert all(item["video"].shape == (10, 1, 24, 24) for item in items)
    assert all(item["masks"][0, 0].sum() > item["masks"][-1, 0].sum() > 0 for item in items)


def test_evaluation_has_one_item_a_case_in_their_order():
    dataset = _dataset()
    assert len(dataset) == 5
    assert [dataset[i]["index"] for i in range(5)] == list(range(5))
    assert list(DataLoader(dataset, batch_size=2, collate_fn=collate).__iter__().__next__()["index"]) == [0, 1]
    with pytest.raises(IndexError, match="index 5 is out of range; there are 5 items"):
        dataset[5]


def test_every_epoch_of_draws_takes_each_case_once():
    dataset = _dataset(draws=23)
    assert len(dataset) == 23
    order = [dataset[i]["index"] for i in range(23)]
    epochs = [order[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("sampling", ["ed_es", "all", "window"])
def test_a_resumed_run_sees_the_same_data(sampling):
    options = {"draws": 14, "frames": 4, "sampling": sampling, "augment": AUGMENT, "seed": 11}
    whole = [_dataset(**options)[i] for i in range(14)]
    resumed = _dataset(**options)
    assert all(_equal(resumed[i], whole[i]) for i in range(9, 14))
    assert all(_equal(resumed[i], whole[i]) for i in (3, 0, 9))


def test_more_draws_do_not_change_the_first_ones():
    short, long = (_dataset(draws=draws, augment=AUGMENT) for draws in (3, 300))
    assert all(_equal(short[i], long[i]) for i in range(3))


def test_another_seed_is_another_stream():
    a, b = (_dataset(draws=10, augment=AUGMENT, seed=seed) for seed in (0, 1))
    assert not all(_equal(a[i], b[i]) for i in range(10))


def test_draws_of_one_case_are_augmented_differently():
    dataset = _dataset(cases=_cases(1), draws=2, augment=(Gamma(p=1),))
    assert not torch.equal(dataset[0]["video"], dataset[1]["video"])


def test_workers_change_nothing():
    dataset = _dataset(draws=6, augment=AUGMENT, frames=3)
    alone = list(DataLoader(dataset, batch_size=2, collate_fn=collate))
    helped = list(DataLoader(dataset, batch_size=2, collate_fn=collate, num_workers=2))
    assert all(_equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_cached_case_is_loaded_once_and_gives_the_same():
    layout, fresh = Invented(), Invented()
    cached, uncached = _dataset(layout, draws=15), _dataset(fresh, draws=15, cache=False)
    assert all(_equal(cached[i], uncached[i]) for i in range(15))
    assert sorted(layout.loads) == ["0", "1", "2", "3", "4"]
    assert len(fresh.loads) == 15


def test_using_an_item_does_not_spoil_the_cache():
    dataset = _dataset(size=(20, 14))
    before = dataset[0]["video"].clone()
    item = dataset[0]
    item["video"].zero_()
    item["supervised"].fill_(False)
    torch.testing.assert_close(dataset[0]["video"], before)
    assert dataset[0]["labelled"].all()


def test_stored_pixels_are_those_of_an_eight_bit_file_exactly():
    video = torch.randint(0, 256, (12, 1, 20, 14)).float() / 255
    dataset = _dataset(Invented(video=video), size=(20, 14), sampling="all")
    assert torch.equal(dataset[0]["video"], video)


def test_original_gives_the_same_frames_at_the_files_own_size():
    dataset = _dataset(frames=4, sampling="window", draws=8)
    for i in range(8):
        clip = dataset.original(i)
        case = dataset[i]["index"]
        whole = dataset.layout.load(dataset.cases[case])
        assert clip.size == (20, 14)
        assert clip.spacing == (0.3, 0.2)
        assert torch.equal(clip.video, whole.video[clip.extra["frames"]])


def test_channels_are_made_from_what_there_is():
    colour = torch.rand(2, 3, 4, 5)
    grey = with_channels(colour, 1)
    torch.testing.assert_close(grey[:, 0], 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2])
    assert torch.equal(with_channels(grey, 3), torch.cat([grey] * 3, dim=1))
    assert with_channels(colour, 3) is colour
    with pytest.raises(ValueError, match="cannot make 3 of 2"):
        with_channels(colour[:, :2], 3)


def test_clips_of_different_lengths_do_not_share_a_batch():
    items = [_dataset(frames=frames)[0] for frames in (3, 4)]
    with pytest.raises(DataError, match="clips of 3, 4 frames cannot share a batch; use a batch size of 1"):
        collate(items)


NAN = torch.full((12, 1, 20, 14), float("nan"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": None}, "0: has no labels"),
        ({"labelled": torch.zeros(12, dtype=torch.bool)}, "0: no frame has a label"),
        ({"labelled": torch.arange(12) == 11}, "none of the frames that `ed_es` takes has a label"),
        ({"labels": torch.zeros(12, 9, 14, dtype=torch.int64)}, r"labels of shape \(12, 9, 14\).*\(12, 20, 14\)"),
        ({"video": NAN}, "pixels run from nan to nan"),
        ({"video": torch.full((12, 1, 20, 14), 2.0)}, r"pixels run from 2 to 2, not in \[0, 1\]"),
        ({"ed": None}, "ED and ES are unknown"),
    ],
)
def test_a_clip_that_cannot_be_trained_on_is_refused(changes, match):
    with pytest.raises(DataError, match=match):
        _dataset(Invented(**changes))[0]


def test_a_structure_that_the_layout_lacks_is_refused(make_echonet):
    layout = EchoNet()
    with pytest.raises(
        DataError, match="'la' wants label 3, which this layout does not have; it has 0 background, 1 lv"
    ):
        _dataset(layout, layout.cases(make_echonet()), structures={"lv": [1], "la": [3]})


def test_no_cases_are_refused():
    with pytest.raises(DataError, match="no cases"):
        ClipDataset(Invented(), [], size=16, structures=HEART)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"structures": {}}, "structures must name at least one"),
        ({"structures": {"lv": []}}, "'lv' has no label values"),
        ({"supervision": "first"}, "supervision must be one of ends, all"),
        ({"sampling": "some"}, "sampling must be one of"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"augment": AUGMENT}, "draws must be given"),
        ({"draws": -1}, "draws must not be negative"),
    ],
)
def test_senseless_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        _dataset(**options)


def test_the_fingerprint_is_that_of_the_content(make_camus, tmp_path):
    layout, root = Camus(), make_camus()
    cases = layout.cases(root)
    first = fingerprint(layout, cases)
    assert len(first) == 64
    assert fingerprint(layout, cases[::-1]) == first
    for path in root.rglob("*.nii.gz"):
        os.utime(path, (1, 1))
    copied = shutil.copytree(root, tmp_path / "elsewhere")
    assert fingerprint(layout, layout.cases(copied)) == first


def test_the_fingerprint_tells_changes(make_camus):
    layout, root = Camus(), make_camus()
    cases = layout.cases(root)
    first = fingerprint(layout, cases)
    assert fingerprint(layout, cases[1:]) != first
    assert fingerprint(layout, [dataclasses.replace(cases[0], split="test"), *cases[1:]]) != first
    info = cases[0].files["info"]
    info.write_text(info.read_text().replace("EF: 54.5", "EF: 54.6"))
    second = fingerprint(layout, cases)
    assert second != first
    video = cases[0].files["video"]
    big = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8)
    video.write_bytes(big.tobytes())
    third = fingerprint(layout, cases)
    big[-1] ^= 1
    video.write_bytes(big.tobytes())
    assert len({first, second, third, fingerprint(layout, cases)}) == 4


def test_the_fingerprint_covers_folders_and_names_a_missing_file(make_folder):
    layout, root = Folder(), make_folder()
    cases = layout.cases(root)
    first = fingerprint(layout, cases)
    (root / "masks" / "clip1" / "1.png").unlink()
    assert fingerprint(layout, cases) != first
    gone = Case("x", "x", "", "train", {"video": root / "gone.avi"})
    with pytest.raises(DataError, match=r"gone.avi: cannot be read"):
        fingerprint(layout, [gone])
