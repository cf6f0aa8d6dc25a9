"""Decoders: features and readout → mask logits."""

from memx.decoders.aggregation import soft_aggregate
from memx.decoders.base import Decoder, DecoderSlot
from memx.decoders.upsample import Upsample, UpsampleBlock
