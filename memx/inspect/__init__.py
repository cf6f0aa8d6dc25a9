"""What a trained memory does on a clip: its gates, their gradients, its state and what is read from it."""

from memx.inspect.clip import ClipRecord, record_clip
from memx.inspect.clip_gradients import ClipGradients, clip_gradients
from memx.inspect.correlation import cosine, pearson
from memx.inspect.gate_series import GateSeries
from memx.inspect.recording import MemoryFrame, memory_of, recording
from memx.inspect.spectrum import Spectrum, effective_rank, spectrum
from memx.inspect.training_gradients import TrainingGradients, training_gradients
