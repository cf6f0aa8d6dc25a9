"""The laws of the mask propagator, on narrow models."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memx.encoders import ResNet
from memx.errors import RecipeError
from memx.fusion import Add
from memx.losses import SegmentationLoss
from memx.memory import LinearMemory
from memx.memory.state import State
from memx.models import MaskPropagator, Output
from memx.registry import fusions, memories

drawn = settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fold(model: MaskPropagator, video: torch.Tensor, objects: int = 1, state: State | None = None, **kwargs) -> Output:
    """The clip through `step`, frame after frame."""
    state = model.init_state(video.shape[0], objects) if state is None else state
    outputs = []
    for frame in video.unbind(1):
        out, state = model.step(frame, state, **kwargs)
        outputs.append(out)
    return Output.stack(outputs)


@drawn
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 3),
    objects=st.integers(1, 3),
    channels=st.integers(1, 3),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
)
def test_any_size_gives_masks_of_that_size(narrow, batch, frames, objects, channels, height, width):
    video = torch.rand(batch, frames, channels, height, width)
    with torch.no_grad():
        out = narrow(channels)(video, objects=objects, auxiliary=True)
    assert out.masks.shape == (batch, frames, objects, height, width)
    assert out.logits.shape == (batch, frames, objects + 1, height, width)
    grid = (-(-height // 16), -(-width // 16))
    assert out.auxiliary.sensory.shape == (batch, frames, objects + 1, *grid)
    assert out.auxiliary.queries.shape == (batch, frames, objects + 1, 3, *grid)
    torch.testing.assert_close(out.masks, out.logits.softmax(2)[:, :, 1:])


@pytest.mark.parametrize("pairing", ["current", "previous"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_clip_gives_what_its_frames_give(narrow, pairing, dtype, tolerance):
    model = narrow(pixel_pairing=pairing, dtype=dtype)
    video = torch.rand(2, 4, 1, 40, 56, dtype=dtype)
    with torch.no_grad():
        whole, stepped = model(video, objects=2, auxiliary=True), fold(model, video, 2, auxiliary=True)
    pairs = [(whole.masks, stepped.masks), (whole.logits, stepped.logits)]
    pairs += [
        (whole.auxiliary.sensory, stepped.auxiliary.sensory),
        (whole.auxiliary.queries, stepped.auxiliary.queries),
    ]
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def seeded_state(model: MaskPropagator, batch: int, objects: int, size: tuple[int, int]) -> State:
    """A state whose objects differ: with equal masks, equal objects stay equal."""
    state = model.init_state(batch, objects, size=size)
    return state.replace(mask=torch.rand_like(state.mask) / objects)


def test_permuting_objects_permutes_their_masks(narrow):
    model = narrow(dtype=torch.float64)
    video, order = torch.rand(1, 3, 1, 32, 32, dtype=torch.float64), [2, 0, 1]
    state = seeded_state(model, 1, 3, (32, 32))
    with torch.no_grad():
        masks = fold(model, video, state=state).masks
        permuted = fold(model, video, state=state.replace(mask=state.mask[:, order])).masks
    assert (masks[:, :, 0] - masks[:, :, 1]).abs().max() > 1e-6
    torch.testing.assert_close(permuted, masks[:, :, order], atol=1e-10, rtol=0)


def test_only_first_masks_or_identities_tell_objects_apart(narrow):
    video = torch.rand(1, 3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        same = narrow(dtype=torch.float64)(video, objects=2).masks
        apart = narrow(identities=3, dtype=torch.float64)(video, objects=2).masks
    torch.testing.assert_close(same[:, :, 0], same[:, :, 1], atol=1e-10, rtol=0)
    assert (apart[:, :, 0] - apart[:, :, 1]).abs().amax((0, 2, 3)).min() > 1e-6
    with pytest.raises(ValueError, match="objects must be at most 3, the model's identities, got 4"):
        narrow(identities=3)(torch.rand(1, 1, 1, 32, 32), objects=4)


def test_batch_items_do_not_see_each_other(narrow):
    model = narrow(dtype=torch.float64)
    video = torch.rand(3, 3, 1, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        together = model(video, objects=2).masks
        alone = torch.cat([model(clip[None], objects=2).masks for clip in video])
    torch.testing.assert_close(together, alone, atol=1e-10, rtol=0)


def test_the_future_does_not_touch_the_past(narrow):
    model = narrow(dtype=torch.float64)
    video = torch.rand(1, 4, 1, 32, 32, dtype=torch.float64)
    poisoned = video.clone()
    poisoned[:, 2:] = float("nan")
    with torch.no_grad():
        torch.testing.assert_close(model(video).masks[:, :2], model(poisoned).masks[:, :2], atol=1e-12, rtol=0)


def test_earlier_frames_matter(narrow):
    model = narrow(dtype=torch.float64)
    video = torch.rand(1, 3, 1, 32, 32, dtype=torch.float64)
    other = torch.cat([torch.rand_like(video[:, :1]), video[:, 1:]], dim=1)
    with torch.no_grad():
        assert (model(video).masks[:, 2] - model(other).masks[:, 2]).abs().max() > 1e-6


def test_pairing_changes_later_frames_only(narrow):
    current, previous = narrow(dtype=torch.float64), narrow(pixel_pairing="previous", dtype=torch.float64)
    previous.load_state_dict(current.state_dict())
    video = torch.rand(1, 2, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        a, b = current(video).masks, previous(video).masks
    torch.testing.assert_close(a[:, 0], b[:, 0], atol=1e-12, rtol=0)
    assert (a[:, 1] - b[:, 1]).abs().max() > 1e-6


@pytest.mark.parametrize("place", ["key_fusion", "value_fusion", "pixel_fusion"])
@pytest.mark.parametrize("name", fusions.names())
def test_every_fusion_fits_every_place(narrow, name, place):
    model = narrow(**{place: name})
    with torch.no_grad():
        assert model(torch.rand(1, 2, 1, 32, 32)).masks.isfinite().all()


@pytest.mark.parametrize(
    "absent",
    [
        {"key_fusion": None},
        {"sensory": None},
        {"refiner": None},
        {"key_fusion": None, "sensory": None, "refiner": None},
    ],
    ids=lambda absent: "+".join(absent),
)
def test_parts_may_be_absent(narrow, absent):
    model = narrow(**absent)
    with torch.no_grad():
        out = model(torch.rand(1, 2, 1, 32, 32), auxiliary=True)
    assert out.masks.isfinite().all()
    assert (out.auxiliary.sensory is None) == ("sensory" in absent)
    assert (out.auxiliary.queries is None) == ("refiner" in absent)


@pytest.mark.parametrize("name", memories.names())
def test_every_registered_memory_steps(narrow, name):
    model = narrow(memory=name, dtype=torch.float64)
    video = torch.rand(2, 3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        whole, stepped = model(video, objects=2).masks, fold(model, video, 2).masks
    assert whole.isfinite().all()
    torch.testing.assert_close(whole, stepped, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"auxiliary": False, "identities": 2},
        {"sensory": None, "refiner": None},
        {"pixel_pairing": "previous", "key_fusion": "gated", "value_fusion": "concat", "pixel_fusion": "kpff"},
        {"memory": {"type": "gated_delta", "gates": "token"}, "value_fusion": "add"},
    ],
    ids=["default", "no-auxiliary", "bare", "fusions", "token-gates"],
)
def test_the_loss_reaches_every_parameter(narrow, options):
    model = narrow(**options).train()
    out = model(torch.rand(2, 3, 1, 48, 48), objects=2)
    masks = torch.zeros(2, 3, 2, 48, 48)
    masks[:, :, 0, :20, :20] = masks[:, :, 1, 30:, 10:] = 1
    SegmentationLoss(points=None)(out, masks, torch.ones(2, 3, dtype=torch.bool))["total"].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_auxiliary_masks_come_in_training_or_when_asked(narrow):
    model, video = narrow(), torch.rand(2, 2, 1, 32, 32)
    assert model(video).auxiliary is None
    assert model(video, auxiliary=True).auxiliary is not None
    assert model.train()(video).auxiliary is not None
    assert model(video, auxiliary=False).auxiliary is None
    assert narrow(auxiliary=False).train()(video).auxiliary is None


@pytest.mark.parametrize("pairing", ["current", "previous"])
def test_a_state_survives_disk_and_indexing(narrow, tmp_path, pairing):
    model = narrow(pixel_pairing=pairing)
    video = torch.rand(3, 3, 1, 32, 32)
    with torch.no_grad():
        expected = model(video, objects=2).masks[:, 2]
        _, state = model.step(video[:, 0], model.init_state(3, 2))
        _, state = model.step(video[:, 1], state)
        state.detach().save(tmp_path / "state.safetensors")
        loaded = State.load(tmp_path / "state.safetensors")
        out, _ = model.step(video[[2, 0], 2], loaded[[2, 0]])
    torch.testing.assert_close(out.masks, expected[[2, 0]], atol=1e-5, rtol=0)


def test_a_state_of_known_size_is_that_of_the_first_frame(narrow):
    model, frame = narrow(pixel_pairing="previous"), torch.rand(2, 1, 40, 24)
    with torch.no_grad():
        early, late = model.init_state(2, 1, size=(40, 24)), model.init_state(2, 1)
        (a, after_a), (b, after_b) = model.step(frame, early), model.step(frame, late)
    torch.testing.assert_close(a.masks, b.masks, atol=0, rtol=0)
    assert {k: x.shape for k, x in after_a.tensors().items()} == {k: x.shape for k, x in after_b.tensors().items()}
    assert {k: x.shape for k, x in early.tensors().items()} == {k: x.shape for k, x in after_a.tensors().items()}


def test_the_state_stays_float32_under_autocast(narrow):
    model, video = narrow(), torch.rand(1, 3, 1, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        state = model.init_state(1, 1)
        for frame in video.unbind(1):
            out, state = model.step(frame, state)
    assert out.masks.isfinite().all()
    assert all(x.dtype in (torch.float32, torch.bool, torch.int64) for x in state.tensors().values())
    assert out.logits.dtype == torch.float32


def test_parts_may_be_composed_in_python():
    model = MaskPropagator(
        1,
        image_encoder=partial(ResNet, depth=18, width=4),
        value_encoder=lambda in_channels: ResNet(in_channels, depth=18, width=4),
        memory=LinearMemory,
        key_fusion=Add,
        key_dim=4,
        value_dim=8,
        pixel_dim=8,
        sensory_dim=4,
        refiner=None,
    ).eval()
    assert model(torch.rand(1, 2, 1, 32, 32)).masks.shape == (1, 2, 1, 32, 32)


def test_what_does_not_fit_is_refused_by_name(narrow):
    model = narrow()
    with pytest.raises(ValueError, match=r"video must be \(b, t, c, y, x\)"):
        model(torch.rand(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r"frame must be \(b, c=1, y, x\), got \[1, 3, 32, 32\]"):
        model.step(torch.rand(1, 3, 32, 32), model.init_state())
    with pytest.raises(ValueError, match="objects must be at least 1"):
        model(torch.rand(1, 1, 1, 32, 32), objects=0)
    with pytest.raises(ValueError, match=r"a frame of \[48, 32\] cannot follow frames padded to \[32, 32\]"):
        model.step(torch.rand(1, 1, 48, 32), model.init_state(size=(32, 32)))
    with pytest.raises(RecipeError, match="value_encoder's stride 8 is not image_encoder's 16"):
        narrow(value_encoder={"type": "resnet", "depth": 18, "width": 4, "stride": 8})


@pytest.mark.parametrize("stride", [8, 32])
def test_the_memory_may_lie_on_another_grid(narrow, stride):
    encoder = {"type": "resnet", "depth": 18, "width": 4, "stride": stride}
    model = narrow(image_encoder=encoder, value_encoder=encoder)
    with torch.no_grad():
        out = model(torch.rand(1, 2, 1, 40, 40), auxiliary=True)
    assert out.masks.shape == (1, 2, 1, 40, 40)
    assert out.auxiliary.sensory.shape[-1] == -(-40 // stride)


def test_dropped_masks_are_blank_masks_in_training_only(narrow):
    model, video = narrow(mask_dropout=0.999999), torch.rand(2, 3, 1, 32, 32)
    frame, size = model._encode(video[:, 1]), (32, 32)
    shown = model.init_state(2, 1, size=size).replace(mask=torch.rand(2, 1, 32, 32))
    blank = shown.replace(mask=torch.zeros(2, 1, 32, 32))
    model.eval()
    assert not torch.equal(model._propagate(frame, shown, size, None)[0].logits,
                           model._propagate(frame, blank, size, None)[0].logits)  # fmt: skip
    model.mask_dropout = 0.0
    with torch.no_grad():
        want = model._propagate(frame, blank, size, None)[0].logits
    model.mask_dropout = 0.999999
    for module in model.children():
        module.eval()
    model.training = True
    got = model._propagate(frame, shown, size, False)[0].logits
    assert torch.allclose(got, want)


def test_masks_are_dropped_clip_by_clip_as_often_as_asked_for(narrow):
    model = narrow(mask_dropout=0.3).train()
    shown = model._shown(torch.ones(4000, 1, 2, 2))
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    assert (shown.amin((1, 2, 3)) == shown.amax((1, 2, 3))).all()
    assert shown.mean().item() == pytest.approx(0.7, abs=0.03)
