"""Sensory states: a recurrent map for each object beside the memory."""

from memx.sensory.base import Sensory, SensorySlot
from memx.sensory.gru import ConvGRU, GRUSensory
