"""Augmentations of a whole clip: one draw of a coin and of a strength, the same for every frame.

Movements that follow each other directly, such as a scaling and a rotation, are composed into one, so that the clip is
resampled and blurred once.

Source: GDKVM (ICCV 2025) augments with gamma, scaling, rotation and contrast, each with probability 0.5; it gives no
ranges, so the defaults here are ours.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from memx.registry import transforms


def _ascending(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if low > high:
        raise ValueError(f"the lower end comes first; got {low:g}, {high:g}")
    return interval


Probability = Annotated[float, Field(ge=0, le=1, description="how probable it is that a clip is changed")]
_Factor = Annotated[float, Field(gt=0, le=10)]
_Degrees = Annotated[float, Field(ge=-180, le=180)]


class Transform(ABC):
    """A change of a clip whose strength is drawn from an interval.

    Called with `(video, labels, rng)` it draws as `draw` says; `apply` is the change itself and draws nothing.
    """

    def __init__(self, p: float, interval: tuple[float, float]):
        self.p = p
        self.low, self.high = _ascending(interval)

    def __call__(
        self, video: Float[Tensor, "t c y x"], labels: Int[Tensor, "t y x"], rng: np.random.Generator
    ) -> tuple[Float[Tensor, "t c y x"], Int[Tensor, "t y x"]]:
        """The clip, changed with probability `p`. Videos in [0, 1] stay in [0, 1]; inputs are not mutated."""
        strength = self.draw(rng)
        return (video, labels) if strength is None else self.apply(video, labels, strength)

    def draw(self, rng: np.random.Generator) -> float | None:
        """The strength, or None where nothing changes. It always draws twice, the coin and the strength, so that the
        options of one transform never shift the draws of the next."""
        coin, strength = rng.random(), rng.uniform(self.low, self.high)
        return strength if coin < self.p else None

    @abstractmethod
    def apply(
        self, video: Float[Tensor, "t c y x"], labels: Int[Tensor, "t y x"], strength: float
    ) -> tuple[Float[Tensor, "t c y x"], Int[Tensor, "t y x"]]:
        """The clip, changed by this much."""


class Movement(Transform):
    """A linear map of the plane about the centre of the frame, which keeps its size; what comes from outside is black
    background. The video is resampled bilinearly, labels by nearest neighbour."""

    @abstractmethod
    def back(self, strength: float) -> Float[np.ndarray, "2 2"]:
        """Where in the input a pixel of the output comes from: (x, y) from the centre in pixels, as a matrix."""

    def apply(self, video: Tensor, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        return _resample(video, labels, self.back(strength))


ClipTransform = Callable[
    [Float[Tensor, "t c y x"], Int[Tensor, "t y x"], np.random.Generator],
    tuple[Float[Tensor, "t c y x"], Int[Tensor, "t y x"]],
]


def augment_clip(
    chain: Sequence[ClipTransform],
    video: Float[Tensor, "t c y x"],
    labels: Int[Tensor, "t y x"],
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "t c y x"], Int[Tensor, "t y x"]]:
    """A clip changed by one transform after the other, in their order, which is also the order of their draws.

    Of movements that follow each other directly the matrices are multiplied, B = B₁ B₂ …, and the clip is resampled
    once. Beside one resampling after the other that leaves out the blur in between, and keeps what one movement takes
    out of the frame and the next brings back.
    """
    back: np.ndarray | None = None
    for transform in chain:
        if isinstance(transform, Movement):
            strength = transform.draw(rng)
            if strength is not None:
                step = transform.back(strength)
                back = step if back is None else back @ step
            continue
        if back is not None:
            video, labels = _resample(video, labels, back)
            back = None
        video, labels = transform(video, labels, rng)
    return (video, labels) if back is None else _resample(video, labels, back)


@transforms.register("gamma")
class Gamma(Transform):
    """Gamma curve: x ← x^γ. Below 1 it brightens, above 1 it darkens; black and white stay."""

    def __init__(
        self,
        *,
        p: Probability = 0.5,
        gamma: Annotated[
            tuple[_Factor, _Factor],
            AfterValidator(_ascending),
            Field(description="lowest and highest exponent; 1 changes nothing"),
        ] = (0.7, 1.5),
    ):
        super().__init__(p, gamma)

    def apply(self, video: Tensor, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        return video.clamp(0, 1) ** strength, labels


@transforms.register("contrast")
class Contrast(Transform):
    """Contrast: x ← μ + f (x − μ), cut to [0, 1], with μ the mean of the whole clip."""

    def __init__(
        self,
        *,
        p: Probability = 0.5,
        factor: Annotated[
            tuple[_Factor, _Factor],
            AfterValidator(_ascending),
            Field(description="lowest and highest factor f; 1 changes nothing"),
        ] = (0.7, 1.4),
    ):
        super().__init__(p, factor)

    def apply(self, video: Tensor, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        mean = video.mean()
        return (mean + strength * (video - mean)).clamp(0, 1), labels


@transforms.register("scale")
class Scale(Movement):
    """Scaling about the centre of the frame, which keeps its size; what comes from outside is black background.

    The video is resampled bilinearly, labels by nearest neighbour. Together with a `rotate` beside it, that is done
    once.
    """

    def __init__(
        self,
        *,
        p: Probability = 0.5,
        factor: Annotated[
            tuple[_Factor, _Factor],
            AfterValidator(_ascending),
            Field(description="lowest and highest factor; above 1 enlarges, 1 changes nothing"),
        ] = (0.8, 1.25),
    ):
        super().__init__(p, factor)

    def back(self, strength: float) -> np.ndarray:
        return np.eye(2) / strength


@transforms.register("rotate")
class Rotate(Movement):
    """Rotation about the centre of the frame, in pixels; what comes from outside is black background.

    A positive angle turns the picture anticlockwise as it is seen, with y pointing down. The video is resampled
    bilinearly, labels by nearest neighbour. Together with a `scale` beside it, that is done once.
    """

    def __init__(
        self,
        *,
        p: Probability = 0.5,
        degrees: Annotated[
            tuple[_Degrees, _Degrees],
            AfterValidator(_ascending),
            Field(description="lowest and highest angle in degrees; 0 changes nothing"),
        ] = (-15.0, 15.0),
    ):
        super().__init__(p, degrees)

    def back(self, strength: float) -> np.ndarray:
        cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
        return np.array([[cos, -sin], [sin, cos]])


def _resample(video: Tensor, labels: Tensor, back: np.ndarray) -> tuple[Tensor, Tensor]:
    """The clip moved as `Movement.back` says. Frames go in as channels: one grid moves all of them.

    The grid is in coordinates of −1..1 an axis, so that the matrix's off-diagonal terms carry the aspect ratio.
    """
    y, x = labels.shape[-2:]
    half = np.array([x, y])
    theta = np.zeros((1, 2, 3), np.float32)
    theta[0, :, :2] = back * half / half[:, None]
    grid = affine_grid(torch.from_numpy(theta), [1, 1, y, x], align_corners=False)
    moved = grid_sample(video.flatten(0, 1)[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    classes = grid_sample(labels[None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved[0].reshape(video.shape).clamp(0, 1), classes[0].to(labels.dtype)
