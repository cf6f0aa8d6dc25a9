"""The mask propagator: each frame is segmented from a memory of earlier frames and of the masks they were given."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.decoders.aggregation import soft_aggregate
from memx.decoders.base import DecoderSlot
from memx.encoders.base import EncoderSlot
from memx.fusion.base import FusionSlot
from memx.memory.base import MemorySlot, Tokens, state_dtype
from memx.memory.state import State
from memx.models.auxiliary import SensoryHead
from memx.models.base import VideoModel
from memx.models.clip_streams import rand_of_clips
from memx.models.frame import Frame
from memx.models.output import Auxiliary, Output
from memx.models.padding import crop, pad, padded_size
from memx.models.readout_fusion import ReadoutFusion
from memx.models.value_encoder import ValueEncoder
from memx.refiners.base import RefinerSlot
from memx.registry import Neutral, Part, build_part, models
from memx.sensory.base import SensorySlot

_RESNET_50 = Part("encoder", "resnet", {"depth": 50})
_RESNET_18 = Part("encoder", "resnet", {"depth": 18})
_KPFF = Part("fusion", "kpff")
_RESIDUAL = Part("fusion", "residual")
_GATED_DELTA = Part("memory", "gated_delta")
_GRU = Part("sensory", "gru")
_OBJECT_TRANSFORMER = Part("refiner", "object_transformer")
_UPSAMPLE = Part("decoder", "upsample")


@models.register("mask_propagator")
class MaskPropagator(VideoModel):
    """Segment a clip frame by frame: recall what earlier frames and their masks wrote into a memory.

    For each frame t, with the last masks m_{t−1} (zeros before the first frame) and the sensory state h:

        encode  f16, f8, f4 = image_encoder(x_t);  Φ = conv1×1 f16
        key     K = key_fusion(conv3×3(conv1×1 f16), Φ), the query as well
        value   v = value_fusion(value_encoder([x_t, m_{t−1}, others]), Φ)
        sense   h ← sensory(v, h)
        recall  r, S = memory.step(S, (K, v))
        fuse    p = pixel_fusion(Φ, r + conv1×1([h, m_{t−1}, others]))
        refine  p ← refiner(p; m_{t−1}, v)
        decode  ℓ = decoder(p, f8, f4);  m_t = softmax(upsample(aggregate(σ(ℓ))))
        sense   h ← sensory(decoder's maps, ℓ, h)

    The memory is handed the key as it is; softmax over channels, unit norm and the like are the memory's own options.
    The defaults are GDKVM's network, 35,078,282 parameters with its memory.

    Frames (b c y x) and clips (b t c y x) in [0, 1], of any size: they are padded to the stride and cropped back.
    `forward` on a clip and `step` on a frame run the same code and, in evaluation mode, agree.

    Predictions are fed back, and mistakes with them. With `mask_dropout`, m_{t−1} is blank in training for that share
    of the clips, drawn anew for every frame, so that the network learns to recover from a lost mask.

    Objects share all weights. Nothing tells them apart but the masks they start from (`state.replace(mask=…)` before
    the first step) and, with `identities`, a learned vector an object that is added to its value. Without both, as in
    the releases, all objects of a clip get the same mask.

    Raises ValueError where dimensions do not fit together.

    Source: GDKVM, ICCV 2025 (arXiv 2512.10252), after Cutie (CVPR 2024) and LiVOS.
    """

    def __init__(
        self,
        in_channels: int = 1,
        *,
        image_encoder: Annotated[
            EncoderSlot, Field(description="frame → feature maps; the deepest one's stride is the memory's")
        ] = _RESNET_50,
        value_encoder: Annotated[
            EncoderSlot, Field(description="frame and masks → features at the same stride")
        ] = _RESNET_18,
        key_dim: Annotated[int, Field(ge=1, description="channels of a key")] = 64,
        value_dim: Annotated[int, Field(ge=1, description="channels of a value")] = 256,
        pixel_dim: Annotated[
            int, Field(ge=4, multiple_of=4, description="channels of the pixel feature and of the fused maps")
        ] = 256,
        sensory_dim: Annotated[int, Field(ge=1, description="channels of the sensory state")] = 256,
        key_fusion: Annotated[
            FusionSlot | None, Field(description="fuses key and pixel feature; null: the key alone")
        ] = _KPFF,
        value_fusion: Annotated[FusionSlot, Field(description="fuses value and pixel feature")] = _RESIDUAL,
        pixel_fusion: Annotated[FusionSlot, Field(description="fuses pixel feature and readout")] = _RESIDUAL,
        memory: Annotated[MemorySlot, Field(description="what is kept of earlier frames, and how")] = _GATED_DELTA,
        sensory: Annotated[SensorySlot | None, Field(description="recurrent map an object; null: none")] = _GRU,
        refiner: Annotated[
            RefinerSlot | None, Field(description="refines the fused maps object by object; null: none")
        ] = _OBJECT_TRANSFORMER,
        decoder: Annotated[DecoderSlot, Field(description="fused maps and finer features → mask logits")] = _UPSAMPLE,
        pixel_pairing: Annotated[
            Literal["current", "previous"],
            Field(
                description="frame whose pixel feature Φ is fused with v_t: current, Φ_t (paper), or previous, Φ_{t−1} "
                "but Φ_0 for the first frame (2025 release and re-release)"
            ),
        ] = "current",
        mask_dropout: Annotated[
            float,
            Field(
                ge=0,
                lt=1,
                description="in training, how often a frame is not shown the last masks, so that it has to trust the "
                "memory more than its own mistakes",
            ),
            Neutral(0.0),
        ] = 0.0,
        identities: Annotated[
            int | None,
            Field(ge=1, description="learned vectors that tell objects apart; null: only their first masks do"),
        ] = None,
        auxiliary: Annotated[
            bool,
            Field(
                description="build the heads for the auxiliary losses; without, the refiner's attention is not masked"
            ),
        ] = True,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.pixel_dim = pixel_dim
        self.pixel_pairing = pixel_pairing
        self.auxiliary = auxiliary
        self.mask_dropout = mask_dropout
        self.identities = identities

        self.image_encoder = build_part(image_encoder, in_channels=in_channels, image_channels=in_channels)
        deepest, *skip_dims = self.image_encoder.channels
        self.stride = self.image_encoder.strides[0]
        self.pixel_proj = nn.Conv2d(deepest, pixel_dim, 1)
        self.key_proj = nn.Sequential(nn.Conv2d(deepest, pixel_dim, 1), nn.Conv2d(pixel_dim, key_dim, 3, padding=1))
        self.key_fusion = None
        if key_fusion is not None:
            self.key_fusion = build_part(key_fusion, x_dim=key_dim, y_dim=pixel_dim, out_dim=key_dim)

        self.value_encoder = ValueEncoder(
            in_channels, pixel_dim, value_dim, encoder=value_encoder, fusion=value_fusion, identities=identities
        )
        if self.value_encoder.encoder.strides[0] != self.stride:
            strides = f"{self.value_encoder.encoder.strides[0]} is not image_encoder's {self.stride}"
            raise ValueError(f"keys and values lie on one grid, but value_encoder's stride {strides}")

        self.memory = build_part(memory, key_dim=key_dim, value_dim=value_dim, feature_dim=pixel_dim)
        context_dim = 0 if sensory is None else sensory_dim
        self.readout_fusion = ReadoutFusion(pixel_dim, value_dim, context_dim, fusion=pixel_fusion)
        self.refiner = None
        if refiner is not None:
            self.refiner = build_part(refiner, pixel_dim=pixel_dim, value_dim=value_dim, auxiliary=auxiliary)
        self.decoder = build_part(decoder, pixel_dim=pixel_dim, skip_dims=skip_dims)

        self.sensory = self.sensory_head = None
        if sensory is not None:
            facts = {"value_dim": value_dim, "sensory_dim": sensory_dim, "decoder_channels": self.decoder.channels}
            self.sensory = build_part(sensory, **facts)
            self.sensory_head = SensoryHead(sensory_dim, pixel_dim) if auxiliary else None

    def forward(self, video: Float[Tensor, "b t c y x"], objects: int = 1, *, auxiliary: bool | None = None) -> Output:
        """Segment a whole clip. `auxiliary`: return the auxiliary logits; None: in training mode only."""
        if video.ndim != 5 or video.shape[1] == 0:
            raise ValueError(f"video must be (b, t, c, y, x) with at least one frame, got {list(video.shape)}")
        size = (video.shape[-2], video.shape[-1])
        state = self.init_state(video.shape[0], objects, size=size, device=video.device)
        outputs = []
        for frame in self._encode_clip(video):
            out, state = self._propagate(frame, state, size, auxiliary)
            outputs.append(out)
        return Output.stack(outputs)

    def step(
        self, frame: Float[Tensor, "b c y x"], state: State, *, auxiliary: bool | None = None
    ) -> tuple[Output, State]:
        """Segment the next frame of a clip: its masks (b o y x), and the state to go on with."""
        size = (frame.shape[-2], frame.shape[-1])
        return self._propagate(self._encode(frame), self._sized(state, size), size, auxiliary)

    def init_state(
        self,
        batch: int = 1,
        objects: int = 1,
        *,
        size: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """The state before the first frame; `size` (height, width) may be left to the first frame.

        `mask` (b o y x) the last masks at the padded size · `memory` · `sensory` (b o s y16 x16) · `refiner` ·
        `pixel`, `seen`: the last pixel feature, and whether there is one, with `pixel_pairing="previous"`.
        Kept at least in float32. Device and dtype are the parameters' unless given.
        """
        if objects < 1:
            raise ValueError(f"objects must be at least 1, got {objects}")
        if self.identities is not None and objects > self.identities:
            raise ValueError(f"objects must be at most {self.identities}, the model's identities, got {objects}")
        weight = self.pixel_proj.weight
        device, dtype = device or weight.device, state_dtype(dtype or weight.dtype)
        made = {"device": device, "dtype": dtype}
        height, width = (0, 0) if size is None else padded_size(size, self.stride)
        grid = (height // self.stride, width // self.stride)
        nodes: dict[str, Tensor | State] = {
            "mask": torch.zeros(batch, objects, height, width, **made),
            "memory": self.memory.init_state(batch, objects, **made),
        }
        if self.sensory is not None:
            nodes["sensory"] = self.sensory.init_state(batch, objects, grid, **made)
        if self.refiner is not None:
            nodes["refiner"] = self.refiner.init_state(batch, objects, **made)
        if self.pixel_pairing == "previous":
            nodes["pixel"] = torch.zeros(batch, self.pixel_dim, *grid, **made)
            nodes["seen"] = torch.zeros(batch, dtype=torch.bool, device=device)
        return State(**nodes)

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        state = self._sized(state, size)
        height, width = padded_size(size, self.stride)
        grid = (height // self.stride, width // self.stride)
        return state.replace(memory=self.memory.allocate(state.memory, grid))

    def _encode(self, frames: Float[Tensor, "b c y x"]) -> Frame:
        """Everything that a frame gives without looking at any other."""
        if frames.ndim != 4 or frames.shape[1] != self.in_channels:
            raise ValueError(f"a frame must be (b, c={self.in_channels}, y, x), got {list(frames.shape)}")
        dtype = self.pixel_proj.weight.dtype
        image = ((pad(frames.to(state_dtype(dtype)), self.stride) - 0.5) / 0.5).to(dtype)
        deepest, *skips = self.image_encoder(image)
        pixel, key = self.pixel_proj(deepest), self.key_proj(deepest)
        if self.key_fusion is not None:
            key = self.key_fusion(key, pixel)
        return Frame(image, pixel, key, tuple(skips))

    def _encode_clip(self, video: Float[Tensor, "b t c y x"]) -> list[Frame]:
        """All frames at once, as frames."""
        b, t = video.shape[:2]
        clip = self._encode(video.transpose(0, 1).flatten(0, 1))

        def split(x: Tensor) -> tuple[Tensor, ...]:
            return x.unflatten(0, (t, b)).unbind(0)

        skips = zip(*(split(x) for x in clip.skips), strict=True) if clip.skips else [()] * t
        parts = zip(split(clip.image), split(clip.pixel), split(clip.key), skips, strict=True)
        return [Frame(*part) for part in parts]

    def _propagate(
        self, frame: Frame, state: State, size: tuple[int, int], auxiliary: bool | None
    ) -> tuple[Output, State]:
        """One frame: write, read, fuse, refine, decode. What both `forward` and `step` do."""
        grid = (frame.pixel.shape[-2], frame.pixel.shape[-1])
        last_mask = self._shown(state.mask)
        coarse_mask = F.avg_pool2d(last_mask, self.stride)

        value = self.value_encoder(frame.image, last_mask, self._paired(frame, state))
        sensory = None if self.sensory is None else self.sensory.see_value(state.sensory, value)

        key = _tokens(frame.key)
        tokens = Tokens(key=key, query=key, value=_tokens(value), feature=_tokens(frame.pixel), size=grid)
        readout, memory = self.memory.step(state.memory, tokens)
        state = state.replace(memory=memory)

        pixels = self.readout_fusion(frame.pixel, readout.mT.unflatten(-1, grid), sensory, coarse_mask)
        levels = None
        if self.refiner is not None:
            pixels, levels, refiner = self.refiner(pixels, coarse_mask, value, state.refiner)
            state = state.replace(refiner=refiner)

        object_logits, maps = self.decoder(pixels, frame.skips)
        logits = soft_aggregate(object_logits.sigmoid())
        logits = F.interpolate(logits, size=state.mask.shape[-2:], mode="bilinear", align_corners=False)
        masks = logits.softmax(dim=1)[:, 1:]

        if self.sensory is not None:
            sensory = self.sensory.see_decoder(sensory, maps, object_logits)
            state = state.replace(sensory=sensory)
        if self.pixel_pairing == "previous":
            state = state.replace(pixel=frame.pixel.to(state.pixel.dtype), seen=torch.ones_like(state.seen))
        extra = None
        if self.auxiliary and (self.training if auxiliary is None else auxiliary):
            extra = self._auxiliary(frame.pixel, sensory, levels)
        return Output(crop(masks, size), crop(logits, size), extra), state.replace(mask=masks)

    def _shown(self, mask: Float[Tensor, "b o y x"]) -> Float[Tensor, "b o y x"]:
        """The last masks as this frame sees them: in training, blank in a share `mask_dropout` of the clips."""
        if not (self.training and self.mask_dropout):
            return mask
        drawn = rand_of_clips([1] * mask.shape[0], 1, 1, 1, device=mask.device)
        return mask * (drawn >= self.mask_dropout)

    def _paired(self, frame: Frame, state: State) -> Float[Tensor, "b p y16 x16"]:
        """The pixel feature that this frame's value is fused with."""
        if self.pixel_pairing == "current":
            return frame.pixel
        return torch.where(state.seen[:, None, None, None], state.pixel.to(frame.pixel.dtype), frame.pixel)

    def _auxiliary(self, pixel: Tensor, sensory: Tensor | None, levels: Tensor | None) -> Auxiliary:
        return Auxiliary(
            sensory=None if self.sensory_head is None else soft_aggregate(self.sensory_head(pixel, sensory).sigmoid()),
            queries=None if levels is None else soft_aggregate(levels.sigmoid()),
        )

    def _sized(self, state: State, size: tuple[int, int]) -> State:
        """A state that knows the size of its frames; one that was made without takes this frame's."""
        masked = state.mask.shape[-2:] == padded_size(size, self.stride)
        if masked and all(getattr(state, name).numel() for name in ("sensory", "pixel") if name in state):
            return state
        if state.mask.numel() and not masked:
            raise ValueError(f"a frame of {list(size)} cannot follow frames padded to {list(state.mask.shape[-2:])}")
        batch, objects = state.mask.shape[:2]
        sized = self.init_state(batch, objects, size=size, device=state.mask.device, dtype=state.mask.dtype)
        kept = {name: getattr(state, name) for name in ("memory", "refiner", "seen") if name in state}
        if masked:  # a first mask was given to a state made without a size
            kept["mask"] = state.mask
        return sized.replace(**kept)


def _tokens(x: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b n c"]:
    return x.flatten(-2).mT
