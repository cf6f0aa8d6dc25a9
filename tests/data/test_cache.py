"""The cache of decoded clips: same numbers, nothing read twice, never trusted when broken, safe in company."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from memx.data import Case, Clip, ClipDataset, Layout, cache, collate
from memx.data.camus import Camus
from memx.errors import RecipeError, UserError
from memx.recipe import Recipe


class Noted(Layout):
    """Reads a case's numbers from its file, and writes down in `journal` that it did."""

    def __init__(self, journal: Path, gain: float = 1.0):
        self.journal = journal
        self.gain = gain

    def load(self, case: Case) -> Clip:
        with self.journal.open("a") as file:
            file.write(f"{case.id}\n")
        generator = torch.Generator().manual_seed(len(case.files["clip"].read_bytes()) + int(case.id))
        return Clip(
            video=torch.rand(9, 1, 20, 14, generator=generator) * self.gain,
            labels=torch.randint(0, 4, (9, 20, 14), generator=generator),
            labelled=torch.ones(9, dtype=torch.bool),
            ed=1,
            es=7,
        )


@pytest.fixture
def made(tmp_path: Path):
    """A function that makes data sets of three cases, and one that says what has been read since it was last asked."""
    cases = []
    for i in range(3):
        file = tmp_path / f"{i}.bin"
        file.write_bytes(bytes(200_000 + i))
        cases.append(Case(str(i), str(i), "4CH", "train", {"clip": file}))
    journal = tmp_path / "journal"

    def make(where: bool | Path = tmp_path / "cache", *, gain: float = 1.0, **options) -> ClipDataset:
        options = {"size": 16, "structures": {"lv": [1]}, "draws": 6, **options}
        return ClipDataset(Noted(journal, gain), cases, cache=where, **options)

    def read() -> list[str]:
        lines = journal.read_text().split() if journal.exists() else []
        journal.unlink(missing_ok=True)
        return sorted(lines)

    return make, read


def _items(dataset: ClipDataset) -> list[dict]:
    return [dataset[i] for i in range(len(dataset))]


def _same(a: list[dict], b: list[dict]) -> bool:
    return all(torch.equal(torch.as_tensor(x[k]), torch.as_tensor(y[k])) for x, y in zip(a, b, strict=True) for k in x)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.mark.parametrize("sampling", ["ed_es", "window", "all"])
def test_every_cache_gives_the_same_numbers(made, tmp_path, sampling):
    make, read = made
    options = {"sampling": sampling, "frames": 4}
    plain = _items(make(False, **options))
    assert len(read()) == 6
    for where in (True, tmp_path / "cache"):
        dataset = make(where, **options)
        assert _same(_items(dataset), plain)
        assert _same(_items(dataset), plain)
        assert read() == ["0", "1", "2"]


def test_what_is_on_disk_is_not_read_again_by_another_run_or_worker(made, tmp_path):
    make, read = made
    first = _items(make())
    assert read() == ["0", "1", "2"]
    assert _same(_items(make(seed=0)), first)
    make(draws=None).prepare(0)
    make(structures={"la": [3], "epi": [1, 2]}, supervision="all", channels=3)[0]
    for batch in DataLoader(make(), batch_size=2, collate_fn=collate, num_workers=2):
        assert batch["video"].shape == (2, 10, 1, 16, 16)
    assert read() == []
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


@pytest.mark.parametrize("change", [{"size": 8}, {"frames": 5}, {"sampling": "all"}, {"gain": 0.5}])
def test_other_settings_are_other_entries(made, tmp_path, change):
    make, read = made
    make().prepare(0)
    read()
    make(**change).prepare(0)
    assert read() == ["0"]
    assert len(_entries(tmp_path / "cache")) == 2


@pytest.mark.parametrize("place", [0, 100_000, -1])
def test_a_changed_file_is_another_entry(made, tmp_path, place):
    """One bit anywhere in a large file, its size and time of change kept."""
    make, read = made
    make().prepare(0)
    read()
    file = tmp_path / "0.bin"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    make().prepare(0)
    assert read() == ["0"]


def test_a_touched_or_copied_file_is_the_same_entry(made, tmp_path):
    make, read = made
    make().prepare(0)
    read()
    file = tmp_path / "0.bin"
    os.utime(file, ns=(1, 1))
    make().prepare(0)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    make().prepare(0)
    assert read() == []
    assert len(_entries(tmp_path / "cache")) == 1


def test_a_file_is_hashed_once_a_process(made, monkeypatch):
    opened = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *words: opened.append(1) or real(*words))
    make, _ = made
    for _ in range(3):
        dataset = make()
        for case in range(3):
            dataset.prepare(case)
    assert len(opened) == 3


@pytest.mark.parametrize("library", ["av", "nibabel", "numpy", "pillow", "torch"])
def test_another_version_of_a_decoder_makes_other_entries(made, monkeypatch, library):
    make, read = made
    make().prepare(0)
    read()
    real = cache.version
    monkeypatch.setattr(cache, "version", lambda name: "0.0" if name == library else real(name))
    cache._libraries.cache_clear()
    make().prepare(0)
    monkeypatch.undo()
    cache._libraries.cache_clear()
    assert read() == ["0"]


class Optioned(Noted):
    """A layout with an option of any kind."""

    def __init__(self, journal: Path, option: object):
        super().__init__(journal)
        self.option = option


def test_options_count_by_their_values(tmp_path):
    options = [None, True, 1, 1.5, "1", (1, 2), [2, 1], {1, 2}, {"b": 1}, {"b": 2}, Path("b"), "b", {"a": [Path("b")]}]
    keys = [cache.DiskCache(tmp_path / "c", Optioned(tmp_path, option), {})._settings for option in options]
    assert len(set(keys)) == len(options)
    again = cache.DiskCache(tmp_path / "c", Optioned(tmp_path, {"b": 1}), {})._settings
    assert again == keys[8]


@pytest.mark.parametrize("option", [object(), lambda: None, [object()], {"a": np.zeros(3)}])
def test_an_option_without_a_plain_value_is_refused(tmp_path, option):
    """Its text may hold an address, by which no entry would ever be found again, or may leave out what differs."""
    with pytest.raises(UserError, match=r"data.cache: Optioned.option is a \w+, which has no plain value .*=memory"):
        cache.DiskCache(tmp_path / "c", Optioned(tmp_path, option), {})
    assert cache.make_cache(True, Optioned(tmp_path, option), {}).get(Case("0", "0", "", "train")) is None


def test_data_may_move_and_the_code_that_reads_them_counts(made, tmp_path, monkeypatch):
    make, read = made
    make().prepare(1)
    read()
    for path in tmp_path.glob("*.bin"):
        moved = tmp_path / "moved" / path.name
        moved.parent.mkdir(exist_ok=True)
        shutil.copy2(path, moved)
    dataset = make()
    case = dataset.cases[1]
    dataset.cases[1] = Case(case.id, case.patient, case.view, "val", {"clip": tmp_path / "moved" / "1.bin"})
    dataset.prepare(1)
    assert read() == []
    monkeypatch.setattr(cache, "_code", lambda layout: "another")
    make().prepare(1)
    assert read() == ["1"]


def test_the_folder_may_be_deleted_at_any_time(made, tmp_path):
    make, read = made
    dataset = make()
    before = _items(dataset)
    item = dataset[0]
    shutil.rmtree(tmp_path / "cache")
    assert _same([item], before[:1])
    read()
    assert _same(_items(dataset), before)
    assert read() == ["0", "1", "2"]
    assert len(_entries(tmp_path / "cache")) == 3


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_broken_entry_is_made_anew(made, tmp_path, data):
    make, read = made
    whole = make(False)[0]
    make().prepare(whole["index"])
    entry = make()._cache.path(make().cases[whole["index"]])
    content = bytearray(entry.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "empty", "longer", "zero"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "zero":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif kind == "longer":
        content += b"more"
    else:
        content = content[: at if kind == "cut" else 0]
    entry.write_bytes(content)
    read()
    assert _same([make()[0]], [whole])
    read()
    assert _same([make()[0]], [whole])
    assert read() == []


@pytest.mark.parametrize(("old", "new"), [(b'\\"es\\": 7', b'\\"es\\": 6'), (b"[0, 1, 2, 3]", b"[0, 1, 2, 8]")])
def test_the_checksum_covers_phases_and_values(made, old, new):
    make, read = made
    make(sampling="all").prepare(0)
    entry = make(sampling="all")._cache.path(make().cases[0])
    content = entry.read_bytes()
    assert content.count(old) == 1
    entry.write_bytes(content.replace(old, new))
    read()
    assert make(sampling="all").prepare(0) == {0, 1, 2, 3}
    assert read() == ["0"]
    assert entry.read_bytes() == content


def _fill(dataset: ClipDataset) -> float:
    return float(sum(dataset[i]["video"].sum() for i in range(len(dataset))))


def test_processes_may_write_the_same_entries_at_once(made, tmp_path):
    make, read = made
    with multiprocessing.get_context("fork").Pool(3) as pool:
        sums = pool.map(_fill, [make()] * 6, chunksize=1)
    assert len(set(sums)) == 1
    read()
    assert _fill(make()) == sums[0]
    assert read() == []
    assert len(_entries(tmp_path / "cache")) == 3
    assert {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {".safetensors"}


def test_a_full_disk_is_said_once_and_training_goes_on(made, monkeypatch, caplog, tmp_path):
    def full(*words: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tried = []
    monkeypatch.setattr(cache, "save_file", lambda *words, **options: tried.append(1) or full())
    make, read = made
    dataset = make()
    assert _same(_items(dataset)[:1], _items(make(False))[:1])
    assert len(read()) == 12
    make().prepare(0)  # another data set in the same folder
    assert len(tried) == 2
    assert caplog.text.count("the cache of clips is not written any more") == 1
    assert "the disk is full" in caplog.text
    assert not _entries(tmp_path / "cache")


def test_what_a_killed_writer_left_is_removed_after_a_day(made, tmp_path):
    make, _ = made
    make().prepare(0)
    entry = _entries(tmp_path / "cache")[0]
    old, new = (entry.with_name(f".part-{name}.safetensors") for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half")
    day_ago = time.time() - 24 * 3600
    os.utime(old, (day_ago - 60, day_ago - 60))
    os.utime(new, (day_ago + 60, day_ago + 60))
    os.utime(entry, (1, 1))
    make()
    assert not old.exists()
    assert new.exists()
    assert entry.exists()


def test_a_folder_that_cannot_be_made_is_refused(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.clips: cannot be written"):
        made[0](tmp_path / "file" / "clips")


def test_an_item_shares_nothing_with_the_entry(made):
    dataset = made[0]()
    before = dataset[0]["video"].clone()
    dataset[0]["video"].zero_()
    torch.testing.assert_close(dataset[0]["video"], before)


def test_memory_is_not_sent_to_a_spawned_worker():
    import pickle

    kept = cache.MemoryCache()
    case = Case("0", "0", "", "train")
    kept.put(case, cache.PackedClip(*(np.zeros(1, np.uint8),) * 3, None, None, frozenset()))
    assert kept.get(case) is not None
    assert pickle.loads(pickle.dumps(kept)).get(case) is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [("true", True), ("false", False), ("memory", True), ("disk", Path("disk")), ("/some/where", Path("/some/where"))],
)
def test_a_recipe_says_where_and_its_hash_does_not_change(said, kept):
    recipe = Recipe.load("gdkvm_phantom", [f"data.cache={said}"])
    assert recipe.data.cache == kept
    assert recipe.hash == Recipe.load("gdkvm_phantom").hash
    assert Recipe.from_yaml(recipe.to_yaml()).data.cache == kept
    with pytest.raises(RecipeError, match=r"data\.cache"):
        Recipe.load("gdkvm_phantom", ["data.cache=[1]"])


def test_disk_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = cache.make_cache(Path("disk"), Camus(), {})
    assert isinstance(made, cache.DiskCache)
    assert made.folder == tmp_path / "memx" / "clips"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_folder() == tmp_path / ".cache" / "memx" / "clips"


def test_the_check_before_training_fills_the_cache(phantom_root, monkeypatch):
    from memx.cli.training import check_cases

    read: list[str] = []
    load = Camus.load

    def noting(self: Camus, case: Case) -> Clip:
        read.append(case.id)
        return load(self, case)

    monkeypatch.setattr(Camus, "load", noting)
    overrides = [f"data.root={phantom_root}", "data.size=32", "train.iterations=3", "train.batch=4"]
    clips = check_cases(Recipe.load("gdkvm_phantom", overrides))
    assert len(read) == len(set(read)) > len(clips.cases)  # validation cases are checked too
    read.clear()
    assert len(clips) == 12
    for i in range(12):
        clips[i]
    assert read == []
