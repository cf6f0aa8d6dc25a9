"""Memory mechanisms. `base.py` is the contract; each other file is one mechanism."""

from memx.memory.base import Cost, Memory, MemorySlot, Shape, Tokens, state_dtype
from memx.memory.delta import DeltaMemory
from memx.memory.gated_delta import GatedDeltaMemory
from memx.memory.linear import LinearMemory
from memx.memory.mamba import MambaMemory
from memx.memory.softmax import SoftmaxMemory
from memx.memory.state import State
from memx.ops.precision import no_autocast
from memx.registry import memories
