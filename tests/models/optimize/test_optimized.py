"""An optimised network gives the plain one's masks, for every memory, or is not used."""

from __future__ import annotations

import shutil

import pytest
import torch

from memx.memory.state import State
from memx.models.optimize import blocks, optimize
from memx.models.optimize.convolution import FusedConv2d
from memx.models.optimize.fixed_step import FixedStep
from memx.registry import memories

SIZE = (37, 51)
"""Height and width of a frame: no multiples of the stride."""


def _settled(model, video, objects):
    model.train()
    with torch.no_grad():
        model(video, objects)
    return model.eval()


@pytest.mark.parametrize("memory", memories.names())
@pytest.mark.parametrize(("batch", "objects"), [(1, 1), (2, 3)])
def test_the_masks_are_the_plain_networks(narrow, memory, batch, objects):
    video = torch.rand(batch, 4, 1, *SIZE)
    model = _settled(narrow(memory=memory), video, objects)
    found = model.optimize(video[:, :2], objects)
    assert not found.refused, found.sentences()
    assert found.model is not model
    assert found.difference is not None
    assert found.difference < 1e-4
    with torch.no_grad():
        torch.testing.assert_close(found.model(video, objects).masks, model(video, objects).masks, atol=1e-4, rtol=0)


def test_float64_agrees_to_float64(narrow):
    model = narrow(dtype=torch.float64)
    found = model.optimize(torch.rand(1, 3, 1, *SIZE, dtype=torch.float64), tolerance=1e-10)
    assert not found.refused


def test_a_step_leaves_its_state_alone(narrow):
    video = torch.rand(1, 3, 1, 32, 48)
    model = _settled(narrow(), video, 1)
    fast = model.optimize(video).model
    state = fast.step(video[:, 0], fast.init_state(size=(32, 48)))[1]
    kept = state.clone()
    first = fast.step(video[:, 1], state)[0].masks
    assert torch.equal(first, fast.step(video[:, 1], state)[0].masks)
    assert all(torch.equal(x, kept.tensors()[path]) for path, x in state.tensors().items())


def test_other_masks_are_refused_and_the_plain_network_is_returned(narrow, monkeypatch):
    video = torch.rand(1, 2, 1, 32, 32)
    model = _settled(narrow(), video, 1)
    monkeypatch.setattr(blocks._UpsampleBlock, "forward", lambda self, x, skip: 10 + 0 * self.proj(skip)[:, None])
    found = model.optimize(video)
    assert found.model is model
    assert "differ" in found.refused
    assert found.sentences()[0].startswith("not optimised: its masks differ by")


def test_masks_that_are_no_numbers_are_refused(narrow, monkeypatch):
    video = torch.rand(1, 2, 1, 32, 32)
    model = narrow()
    monkeypatch.setattr(
        blocks._UpsampleBlock, "forward", lambda self, x, skip: torch.nan + 0 * self.proj(skip)[:, None]
    )
    assert model.optimize(video).model is model


def test_in_bfloat16_it_may_differ_as_far_as_the_plain_network_does(narrow):
    video = torch.rand(1, 3, 1, 32, 48)
    model = _settled(narrow(), video, 1)
    strict = model.optimize(video, precision="bf16", tolerance=0)
    found = model.optimize(video, precision="bf16", tolerance=1)
    assert strict.allowed > 1e-5, "what the plain network in bfloat16 differs by"
    assert not found.refused
    assert found.difference is not None
    assert found.difference < 10 * strict.allowed
    convs = [module for module in found.model.modules() if isinstance(module, FusedConv2d)]
    has = all(conv.weight.dtype == torch.bfloat16 for conv in convs)
    assert has or found.remarks == ("convolutions in float32: this processor has none in bf16",)


def test_half_precision_on_a_cpu_keeps_its_convolutions_in_float32_and_says_so(narrow):
    found = narrow().optimize(torch.rand(1, 3, 1, 32, 32), precision="fp16", tolerance=1)
    assert "convolutions in float32: this processor has none in fp16" in found.remarks


def test_the_weights_are_its_own(narrow):
    video = torch.rand(1, 3, 1, 32, 48)
    model = _settled(narrow(), video, 1)
    fast = model.optimize(video).model
    before = fast(video).masks
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.mul_(0)
    assert torch.equal(fast(video).masks, before)
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert not any(module.training for module in fast.modules())


def test_a_network_that_raises_is_refused(narrow, monkeypatch):
    def broken(self, x, skip):
        raise TypeError("a plug-in's own mistake")

    monkeypatch.setattr(blocks._UpsampleBlock, "forward", broken)
    model = narrow()
    found = model.optimize(torch.rand(1, 1, 1, 32, 32))
    assert found.model is model
    assert found.difference is None
    assert found.sentences() == ["not optimised: it cannot be run: TypeError: a plug-in's own mistake"]


def test_a_single_frame_is_shown_until_a_captured_step_runs(narrow, monkeypatch):
    monkeypatch.setattr("memx.models.optimize.optimized.compiled", lambda step, example: _wrong)
    found = narrow().optimize(torch.rand(1, 1, 1, 32, 32), compile=True)
    assert found.frames == 3
    assert not found.refused
    assert found.remarks[0].startswith("no compiled step: its masks differ by")
    assert not isinstance(found.model, FixedStep)


def _wrong(tensors):
    frame, *state = tensors
    return (1 + frame[:, :1], frame.expand(-1, 2, -1, -1), *state)


def test_shapes_that_nobody_compared_run_as_they_are(narrow, monkeypatch):
    monkeypatch.setattr("memx.models.optimize.optimized.compiled", _recorded)
    video, other = torch.rand(1, 3, 1, 32, 48), torch.rand(1, 3, 1, 48, 32)
    model = _settled(narrow(), video, 1)
    fast = model.optimize(video, compile=True).model
    assert isinstance(fast, FixedStep)
    kept = set(fast.captured)
    torch.testing.assert_close(
        _stream(fast, other, fast.init_state()), _stream(model, other, model.init_state()), atol=1e-5, rtol=0
    )
    assert set(fast.captured) == kept


def test_a_model_in_training_is_an_error(narrow):
    with pytest.raises(ValueError, match="training mode"):
        optimize(narrow().train(), torch.rand(1, 2, 1, 32, 32))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "int8"}, "precision is 'int8'; wants one of fp32, bf16, fp16"),
        ({"tolerance": -1e-3}, "tolerance must be at least 0, not -0.001"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0, not nan"),
    ],
)
def test_options_that_mean_nothing_are_errors(narrow, options, says):
    with pytest.raises(ValueError, match=f"optimize: {says}"):
        narrow().optimize(torch.rand(1, 3, 1, 32, 32), **options)


def test_an_optimised_network_is_not_optimised_again_and_says_in_a_line_what_it_is(narrow):
    video = torch.rand(1, 3, 1, 32, 32)
    found = _settled(narrow(), video, 1).optimize(video)
    assert repr(found) == f"Optimized({found.sentences()[0]})"
    for model in (found.model, FixedStep(found.model, lambda step, example: step).eval()):
        with pytest.raises(ValueError, match="is optimised already"):
            optimize(model, video)


def _recorded(step, example):
    """What a CUDA graph does, on the CPU: fixed places for what goes in and comes out, read and written by a replay."""
    held = tuple(x.clone() for x in example)
    results = step(held)

    def replay(tensors):
        for place, tensor in zip(held, tensors, strict=True):
            place.copy_(tensor)
        for place, tensor in zip(results, step(held), strict=True):
            place.copy_(tensor)
        return tuple(x.clone() for x in results)

    return replay


def _stream(model, video, state: State) -> torch.Tensor:
    masks = []
    with torch.no_grad():
        for frame in video.unbind(1):
            out, state = model.step(frame, state)
            masks.append(out.masks)
    return torch.stack(masks, 1)


def test_a_recorded_step_gives_what_the_step_gives(narrow):
    video = torch.rand(2, 5, 1, 32, 48)
    model = narrow()
    fixed = FixedStep(model, _recorded)
    expected = _stream(model, video, model.init_state(2))
    for _ in range(2):
        torch.testing.assert_close(_stream(fixed, video, fixed.init_state(2)), expected, atol=1e-6, rtol=0)
    assert len(fixed.captured) == 1


def test_two_streams_of_a_recorded_step_do_not_touch_each_other(narrow):
    videos = torch.rand(2, 1, 4, 1, 32, 48)
    model = narrow()
    fixed = FixedStep(model, _recorded)
    expected = [_stream(model, video, model.init_state(size=(32, 48))) for video in videos]
    states, masks = [fixed.init_state(size=(32, 48)) for _ in videos], [[], []]
    for t in range(4):
        for i, video in enumerate(videos):
            out, states[i] = fixed.step(video[:, t], states[i])
            masks[i].append(out.masks)
    for found, right in zip(masks, expected, strict=True):
        torch.testing.assert_close(torch.stack(found, 1), right, atol=1e-6, rtol=0)


def test_a_state_that_grows_is_never_recorded(narrow):
    video = torch.rand(1, 5, 1, 32, 48)
    model = narrow(memory="softmax")
    fixed = FixedStep(model, _recorded)
    expected = _stream(model, video, model.init_state())
    torch.testing.assert_close(_stream(fixed, video, fixed.init_state()), expected, atol=1e-6, rtol=0)
    assert not fixed.captured


def test_what_cannot_be_compiled_is_said_and_the_network_runs_without(narrow, monkeypatch):
    def broken(step, example):
        raise RuntimeError("no C++ compiler\nwith a second line")

    monkeypatch.setattr("memx.models.optimize.optimized.compiled", broken)
    video = torch.rand(1, 3, 1, 32, 48)
    model = _settled(narrow(), video, 1)
    found = model.optimize(video, compile=True)
    assert not found.refused
    assert found.model is not model
    assert "no compiled step: RuntimeError: no C++ compiler" in found.sentences()


@pytest.mark.slow
def test_a_compiled_step_gives_what_the_step_gives(narrow):
    video = torch.rand(1, 4, 1, 32, 32)
    model = _settled(narrow(refiner=None, sensory=None), video, 1)
    found = model.optimize(video, compile=True)
    assert not found.refused
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("there is no C++ compiler here")
    assert "compiled step" in found.applied
    expected = _stream(model, video, model.init_state(size=(32, 32)))
    fast = _stream(found.model, video, found.model.init_state(size=(32, 32)))
    torch.testing.assert_close(fast, expected, atol=1e-4, rtol=0)
