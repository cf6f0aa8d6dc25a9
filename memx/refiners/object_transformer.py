"""Object queries that talk with the pixels before the masks are decoded."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.aggregation import soft_aggregate
from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.memory.base import state_dtype
from memx.memory.state import State
from memx.refiners.attention import Attention, halves
from memx.refiners.base import Refiner
from memx.refiners.object_summary import ObjectSummary, mean_of
from memx.refiners.position import sinusoid_2d
from memx.registry import refiners
