"""Every registered memory works inside a mask propagator: streaming agrees with the clip, and it is trained."""

from __future__ import annotations

import pytest
import torch

from memx.registry import memories

SIZE = (37, 51)
"""Height and width of a frame: no multiples of the stride."""


@pytest.mark.parametrize("memory", memories.names())
def test_a_clip_gives_what_its_frames_give(narrow, memory):
    model = narrow(memory=memory, dtype=torch.float64)
    video = torch.rand(2, 3, 1, *SIZE, dtype=torch.float64)
    state = model.init_state(batch=2, objects=2)
    with torch.no_grad():
        clip = model(video, objects=2)
        for t, frame in enumerate(video.unbind(1)):
            out, state = model.step(frame, state)
            torch.testing.assert_close(out.masks, clip.masks[:, t], atol=1e-10, rtol=0)
    assert clip.masks.shape == (2, 3, 2, *SIZE)


@pytest.mark.parametrize("memory", memories.names())
def test_every_parameter_of_the_memory_is_trained(narrow, memory):
    model = narrow(memory=memory).train()
    model(torch.rand(1, 3, 1, 32, 48)).masks.square().sum().backward()
    still = [name for name, p in model.memory.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still
