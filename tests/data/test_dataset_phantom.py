"""The real readers read what the phantom writes, and the training set makes items of it."""

import pytest

from memx.data import ClipDataset, phantom
from memx.registry import layouts


@pytest.mark.parametrize(("name", "per_patient"), [("camus", 2), ("echonet", 1)])
def test_a_phantom_data_set_is_read_by_the_real_reader(tmp_path, name, per_patient):
    frames = 12 if name == "camus" else None
    phantom.write(tmp_path / name, layout=name, patients=2, seed=3, size=64, frames=frames)
    layout = layouts.build(name)
    survey = layout.survey(tmp_path / name)
    assert len(survey.cases) == 2 * per_patient
    assert not survey.skipped
    for case in survey.cases:
        clip = layout.load(case)
        left_ventricle = (clip.labels == 1).sum((1, 2))
        assert left_ventricle[clip.ed] > left_ventricle[clip.es] > 0
        assert 0 < clip.ef < 100
        assert (clip.spacing is None) == (name == "echonet")
    dataset = ClipDataset(layout, survey.cases, size=32, structures={"lv": [1]}, draws=4)
    for i in range(4):
        item = dataset[i]
        assert item["video"].shape == (10, 1, 32, 32)
        assert item["masks"][0].sum() > item["masks"][-1].sum() > 0
        assert item["supervised"].nonzero()[:, 0].tolist() == [0, 9]
