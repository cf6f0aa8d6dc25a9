"""Damaged files: every reader refuses them by name or returns a clip of consistent shape; none crashes."""

import gzip
import random
from pathlib import Path

import pytest

from memx.data.camus import Camus
from memx.data.echonet import EchoNet
from memx.data.folder import Folder
from memx.errors import DataError


def _damage(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, most often in the header, and sometimes the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        changed[rng.randrange(min(len(changed), rng.choice((60, 352, len(changed)))))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.2 else changed)


def _damage_file(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    if path.suffix == ".gz" and rng.random() < 0.8:
        path.write_bytes(gzip.compress(_damage(gzip.decompress(content), rng), 1))
    else:
        path.write_bytes(_damage(content, rng))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layout", "maker"), [(Camus(), "make_camus"), (EchoNet(), "make_echonet"), (Folder(), "make_folder")]
)
def test_a_damaged_file_is_refused_or_read_with_consistent_shapes(layout, maker, request):
    root = request.getfixturevalue(maker)()
    rng = random.Random(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(80):
        case = rng.choice(layout.cases(root))
        file = rng.choice(list(case.files.values()))
        file = rng.choice(sorted(file.iterdir())) if file.is_dir() else file
        whole = file.read_bytes()
        _damage_file(file, rng)
        try:
            for again in layout.cases(root):
                if again.id == case.id:
                    clip = layout.load(again)
                    assert clip.video.shape == (len(clip), 1, *clip.size)
                    assert clip.labels.shape == (len(clip), *clip.size)
            outcomes["read"] += 1
        except DataError as error:
            outcomes["refused"] += str(root) in str(error)
        finally:
            file.write_bytes(whole)
    assert sum(outcomes.values()) == 80, "a refusal did not name the file"
    assert outcomes["refused"] > 20
    assert outcomes["read"] > 0
