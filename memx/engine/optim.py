"""Optimiser and schedule as a recipe's `train:` section says."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn, optim

from memx.encoders.base import Encoder
from memx.memory.base import Memory
from memx.recipe import Train


def make_optimizer(model: nn.Module, train: Train) -> optim.Optimizer:
    """AdamW in up to four groups: encoders or not, weight decay or not.

    Encoders learn at `learning_rate · encoder_lr_factor`. A memory's own parameters (A_log, dt_bias, D: decay rates and
    the like, not the weights of its projections) are not decayed, since zero means nothing to them.
    """
    in_encoder = {id(p) for m in model.modules() if isinstance(m, Encoder) for p in m.parameters()}
    exempt = {id(p) for m in model.modules() if isinstance(m, Memory) for p in m.parameters(recurse=False)}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in in_encoder, id(parameter) in exempt)
            groups.setdefault(key, []).append(parameter)
    return optim.AdamW(
        [
            {
                "params": parameters,
                "lr": train.learning_rate * (train.encoder_lr_factor if encoder else 1.0),
                "weight_decay": 0.0 if own else train.weight_decay,
            }
            for (encoder, own), parameters in groups.items()
        ],
        lr=train.learning_rate,
    )


def make_schedule(optimizer: optim.Optimizer, train: Train) -> optim.lr_scheduler.LambdaLR:
    """The learning-rate factor of every step; see `schedule_factor`."""
    return optim.lr_scheduler.LambdaLR(optimizer, schedule_factor(train))


def schedule_factor(train: Train) -> Callable[[int], float]:
    """step ↦ factor of the learning rate, with n iterations, w of them warm-up, and u = (step − w) / (n − w).

    step < w   (step + 1) / w
    step       0.1 from n/3 on, 0.01 from 2n/3 on
    cosine     (1 + cos πu) / 2
    poly       (1 − u)^0.9, as in nnU-Net (Isensee et al., 2021) and DeepLab (Chen et al., 2018)
    constant   1
    """
    span = max(train.iterations - train.warmup, 1)

    def factor(step: int) -> float:
        if step < train.warmup:
            return (step + 1) / train.warmup
        done = step / train.iterations
        if train.schedule == "step":
            return 0.1 ** ((done >= 1 / 3) + (done >= 2 / 3))
        after_warmup = (step - train.warmup) / span
        if train.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * after_warmup))
        if train.schedule == "poly":
            return max(1 - after_warmup, 0.0) ** 0.9
        return 1.0

    return factor
