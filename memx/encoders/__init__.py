"""Encoders: frame → feature maps at several strides."""

from memx.encoders.base import Encoder, EncoderSlot
from memx.encoders.pretrained import no_pretrained
from memx.encoders.resnet import ResNet
