"""Object queries that talk with the pixels before the masks are decoded."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.memory.base import state_dtype
from memx.memory.state import State
from memx.refiners.attention import Attention, halves
from memx.refiners.base import Refiner
from memx.refiners.object_summary import ObjectSummary, mean_of
from memx.refiners.position import Sinusoid2d
from memx.registry import refiners


class ObjectTransformerBlock(nn.Module):
    """Queries read pixels, talk among themselves, think; pixels read queries and go through a convolutional block.

    q ← q̂ + A(q̂ + e_q, p + e_p, p), q̂ = LN(q);  q ← q̂ + A(q̂ + e_q, q̂ + e_q, q̂), q̂ = LN(q);
    q ← q + MLP(LN(q));  p ← C(p + A(p + e_p, q + e_q, q)).
    """

    def __init__(self, dim: int, heads: int, ffn_dim: int):
        super().__init__()
        self.read_norm = nn.LayerNorm(dim)
        self.read_pixels = Attention(dim, heads)
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.read_queries = Attention(dim, heads)
        self.pixel_ffn = ChannelAttentionBlock(dim)

    def forward(
        self,
        query: Float[Tensor, "b q c"],
        pixels: Float[Tensor, "b c y x"],
        query_position: Float[Tensor, "b q c"],
        pixel_position: Float[Tensor, "b n c"],
        visible: Bool[Tensor, "b q n"] | None,
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "b c y x"]]:
        tokens = pixels.flatten(2).transpose(1, 2)
        query = self.read_norm(query)
        query = query + self.read_pixels(query + query_position, tokens + pixel_position, tokens, visible)
        query = self.self_norm(query)
        query = query + self.self_attention(query + query_position, query + query_position, query)
        query = query + self.ffn(self.ffn_norm(query))
        tokens = tokens + self.read_queries(tokens + pixel_position, query + query_position, query)
        return query, self.pixel_ffn(tokens.transpose(1, 2).unflatten(2, pixels.shape[-2:]))


@refiners.register("object_transformer")
class ObjectTransformer(Refiner):
    """Object queries, made from what each object looked like so far, refine its map of pixels.

    The summary of (last mask, value), see ObjectSummary, is added up over the frames; its mean gives each query its
    start and its position, beside learned ones. A frame is refined with the sum up to the frame before (the first
    frame with its own) and added after it. Then `blocks` times: queries ← pixels → queries, see ObjectTransformerBlock.
    Half of the queries see only where the auxiliary mask of the level is foreground, half only the background.

    State: `summary` (b o q c+1) at least float32, `seen` (b,) whether there was a frame.

    Source: the object transformer of Cutie (CVPR 2024), as it is in GDKVM: 16 queries, 3 blocks, 8 heads, 2048.
    """

    def __init__(
        self,
        pixel_dim: int,
        value_dim: int,
        auxiliary: bool = True,
        *,
        queries: Annotated[
            int, Field(ge=2, multiple_of=2, description="object queries; half see the foreground, half the background")
        ] = 16,
        blocks: Annotated[int, Field(ge=1, description="number of transformer blocks")] = 3,
        heads: Annotated[int, Field(ge=1, description="attention heads; must divide the model's pixel_dim")] = 8,
        ffn_dim: Annotated[int, Field(ge=1, description="hidden channels of the queries' feed-forward network")] = 2048,
    ):
        super().__init__()
        self.queries = queries
        self.dim = pixel_dim
        self.sinusoid = Sinusoid2d(pixel_dim)
        self.summary = ObjectSummary(value_dim, pixel_dim, queries)
        self.query_init = nn.Parameter(torch.randn(queries, pixel_dim))
        self.query_position = nn.Parameter(torch.randn(queries, pixel_dim))
        self.summary_to_init = nn.Linear(pixel_dim, pixel_dim)
        self.summary_to_position = nn.Linear(pixel_dim, pixel_dim)
        self.pixel_init = nn.Conv2d(pixel_dim, pixel_dim, 1)
        self.pixel_position = nn.Conv2d(pixel_dim, pixel_dim, 1)
        self.blocks = nn.ModuleList(ObjectTransformerBlock(pixel_dim, heads, ffn_dim) for _ in range(blocks))
        levels = blocks + 1 if auxiliary else 0
        self.mask_heads = nn.ModuleList(nn.Conv2d(pixel_dim, 1, 1) for _ in range(levels))

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        summary = torch.zeros(batch, objects, self.queries, self.dim + 1, device=device, dtype=state_dtype(dtype))
        return State(summary=summary, seen=torch.zeros(batch, dtype=torch.bool, device=device))

    def forward(
        self,
        pixels: Float[Tensor, "b o c y x"],
        mask: Float[Tensor, "b o y x"],
        value: Float[Tensor, "b o v y x"],
        state: State,
    ) -> tuple[Float[Tensor, "b o c y x"], Float[Tensor, "b o l y x"] | None, State]:
        b, o, _, height, width = pixels.shape
        new = self.summary(mask.flatten(0, 1), value.flatten(0, 1)).unflatten(0, (b, o))
        known = torch.where(state.seen[:, None, None, None], state.summary, new)
        state = State(summary=state.summary + new, seen=torch.ones_like(state.seen))

        mean = mean_of(known.flatten(0, 1)).to(pixels.dtype)
        query = self.query_init + self.summary_to_init(mean)
        query_position = self.query_position + self.summary_to_position(mean)
        flat = pixels.flatten(0, 1)
        pixel_position = self.sinusoid((height, width), flat) + self.pixel_position(flat).flatten(2).transpose(1, 2)
        flat = self.pixel_init(flat)

        levels = []
        for i, block in enumerate(self.blocks):
            visible = None
            if self.mask_heads:
                levels.append(self._mask(i, flat, b))
                visible = self._visible(levels[-1])
            query, flat = block(query, flat, query_position, pixel_position, visible)
        if self.mask_heads:
            levels.append(self._mask(-1, flat, b))
        return flat.unflatten(0, (b, o)), torch.stack(levels, dim=2) if levels else None, state

    def _mask(self, level: int, pixels: Float[Tensor, "bo c y x"], batch: int) -> Float[Tensor, "b o y x"]:
        return self.mask_heads[level](F.relu(pixels))[:, 0].unflatten(0, (batch, -1))

    def _visible(self, logits: Float[Tensor, "b o y x"]) -> Bool[Tensor, "bo q n"]:
        """Where each query may look: an object's foreground is where nothing is more probable than it.

        Objects within rounding of each other, 64 units in the last place of 1, are a tie, which both win: rounding
        must not decide between equal objects. (In the releases it does: see tests/fixtures/gdkvm/README.md.)
        """
        p = logits.detach().to(state_dtype(logits.dtype)).sigmoid()
        background = (1 - p).prod(dim=1, keepdim=True)
        tie = 64 * torch.finfo(p.dtype).eps
        foreground = (p >= background) & (p >= p.amax(dim=1, keepdim=True) - tie)
        return halves(foreground.flatten(0, 1).flatten(1), self.queries)
