"""Memory mechanisms. `base.py` is the contract; each other file is one mechanism."""

from memx.memory.base import Cost, Memory, MemorySlot, Shape, Tokens, state_dtype
from memx.memory.conv_gru import ConvGRUMemory
from memx.memory.conv_lstm import ConvLSTMMemory
from memx.memory.delta import DeltaMemory
from memx.memory.gated_delta import GatedDeltaMemory
from memx.memory.gated_delta_product import GatedDeltaProductMemory
from memx.memory.gla import GLAMemory
from memx.memory.kda import KDAMemory
from memx.memory.linear import LinearMemory
from memx.memory.mamba import MambaMemory
from memx.memory.mamba2 import Mamba2Memory
from memx.memory.mlstm import MLSTMMemory
from memx.memory.none import NoMemory
from memx.memory.retention import RetentionMemory
from memx.memory.rwkv7 import RWKV7Memory
from memx.memory.softmax import SoftmaxMemory
from memx.memory.state import State
from memx.memory.ttt import TTTMemory
from memx.ops.precision import no_autocast
from memx.registry import memories
