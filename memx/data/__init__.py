"""From a data set on disk to clips: layouts, transforms, sampling, resampling and the training data set."""

from memx.data import camus, echonet, folder, transforms
from memx.data.channels import with_channels
from memx.data.clip import Case, Clip, Layout, Skipped, Survey
from memx.data.dataset import ClipDataset, collate
from memx.data.fingerprint import fingerprint
from memx.data.resample import resize_clip
from memx.data.sampling import frame_indices, sample_frames, take_frames
from memx.data.split import split_by_patient
