"""Laws about numbers: extreme gates, gradients, and the precision of the state."""

from __future__ import annotations

import re
import warnings
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from memx.memory.base import fold
from memx.memory.laws.case import BrokenLawError, Case, Factory, NotApplicableError
from memx.memory.laws.outcome import all_forms, compare, leaf, outcome, scan, tensors_of
from memx.memory.state import State

EXTREMES = (30.0, -30.0, 100.0, -100.0, 1000.0, -1000.0)
"""What parameters are set to: exp(100) overflows in float32, exp(1000) in float64."""


def extremes_stay_finite(factory: Factory, case: Case) -> None:
    """With features × 10⁴ and parameters at ±30, ±100 and ±1000, forms agree and all is finite, in float32 too.

    First the parameters of one axis (biases, logarithms of rates), then all of them, whose matrices keep their signs.
    Memories that are not `bounded` are held to ±30 in float64.
    """
    memory = case.memory(factory)
    if not list(memory.parameters()):
        raise NotApplicableError("it has no parameters")
    clip, state = case.clip(), case.state(memory)
    clip = clip.replace(feature=None if clip.feature is None else 1e4 * clip.feature)
    single, small, start = deepcopy(memory).float(), clip.map(Tensor.float), state.to(dtype=torch.float32)
    drawn = [parameter.detach().clone() for parameter in memory.parameters()]
    for level in EXTREMES if memory.bounded else EXTREMES[:2]:
        for axes in sorted({min(x.ndim, 2) for x in drawn}):
            with torch.no_grad():
                for x, wide, narrow in zip(drawn, memory.parameters(), single.parameters(), strict=True):
                    extreme = torch.full_like(x, level) if x.ndim < 2 else level * x.sign()
                    wide.copy_(extreme if min(x.ndim, 2) <= axes else x)
                    narrow.copy_(wide)
            which = f"{('scalar parameters', 'parameters of one axis', 'all parameters')[axes]} at {level:g}"
            want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
            for form in all_forms(memory):
                compare(outcome(scan(memory, form), memory, clip, state), want, f"form {form}, {which}", case)
                if not memory.bounded:
                    continue
                for name, x in outcome(scan(single, form), single, small, start).items():
                    if not torch.isfinite(x).all():
                        raise BrokenLawError(f"form {form}, {which}, float32: {name} not finite", case)


def gradients_are_right(factory: Factory, case: Case) -> None:
    """float64 gradients of every form agree with finite differences (torch.autograd.gradcheck)."""
    small = replace(case, batch=1, objects=min(case.objects, 2), tokens=min(case.tokens, 2), frames=min(case.frames, 2))
    if small.frames < 1:
        raise NotApplicableError("the case has no frames")
    memory = small.memory(factory)
    clip, state = small.clip(), small.state(memory)
    names, flat = list(tensors_of(clip)), state.tensors()
    held = [name for name, x in flat.items() if x.is_floating_point() and x.numel()]
    named = {**tensors_of(clip), **{f"initial state {name}": flat[name] for name in held}}
    inputs = {name: leaf(x) for name, x in named.items()}
    inputs |= {f"parameter {name}": parameter for name, parameter in memory.named_parameters()}
    for name, x in inputs.items():
        if x.dtype != torch.float64:
            raise BrokenLawError(f"{name} of a memory that was made for float64 is {x.dtype}", small)
    for form in all_forms(memory):

        def run(*tensors: Tensor, form: str = form) -> tuple[Tensor, ...]:
            tokens = clip.replace(**dict(zip(names, tensors, strict=False)))
            start = State.from_tensors(flat | dict(zip(held, tensors[len(names) :], strict=False)))
            out, final = memory.scan(tokens, start, form=form)
            return (out, *[x for x in final.tensors().values() if x.is_floating_point()])

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it warns of fails as well
                gradcheck(run, tuple(inputs.values()), fast_mode=True, atol=1e-6, rtol=1e-4)
        except GradcheckError as error:
            outputs = ["readouts", *(f"final state {name}" for name in held)]
            raise BrokenLawError(f"form {form}: {_mismatch(str(error), outputs, list(inputs))}", small) from None


def _mismatch(message: str, outputs: list[str], inputs: list[str]) -> str:
    """gradcheck's message with the tensors named."""
    found = re.match(
        r"Jacobian mismatch for output (\d+) .*? input (\d+),\s*numerical:(\S+)\s*analytical:(\S+)", message
    )
    if not found:
        return message.strip().split("\n", 1)[0]
    numerical, analytical = (float(figure) for figure in found.groups()[2:])
    what = f"gradient of {outputs[int(found[1])]} to {inputs[int(found[2])]}"
    return f"{what} is {analytical:.4g} along a random direction, finite differences say {numerical:.4g}"


def autocast_keeps_the_state(factory: Factory, case: Case) -> None:
    """Under bfloat16 autocast, and from bfloat16 tokens, the state is kept and computed in at least float32."""
    memory = case.memory(factory, torch.float32)
    for asked in (torch.bfloat16, torch.float16, torch.float32):
        empty = memory.init_state(case.batch, case.objects, dtype=asked)
        _in_full(empty, f"init_state for tokens of {str(asked).removeprefix('torch.')}", case)
    clip, state = case.clip(torch.float32), case.state(memory, torch.float32)
    coarse = clip.map(Tensor.bfloat16)
    for form in all_forms(memory):
        out, want = memory.scan(clip, state, form=form)
        with torch.autocast("cpu", torch.bfloat16):
            read, got = memory.scan(clip, state, form=form)
        where = f"form {form} under autocast"
        compare(_in_full(got, where, case), _in_full(want, f"form {form}", case), where, case, 1e-4)
        readouts = {"readouts": read.detach().float()}
        compare(readouts, {"readouts": out.detach()}, where, case, 2e-2)

        want = _in_full(memory.scan(coarse.map(Tensor.float), state, form=form)[1], f"form {form}", case)
        for autocast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                got = memory.scan(coarse, state, form=form)[1]
            where = f"form {form} {'under autocast, ' if autocast else ''}from bfloat16 tokens"
            compare(_in_full(got, where, case), want, where, case, 1e-5)


def _in_full(state: State, where: str, case: Case) -> dict[str, Tensor]:
    """The floating-point tensors of a state. Raises BrokenLawError for one of less than float32."""
    kept = {f"state {name}": x.detach() for name, x in state.tensors().items() if x.is_floating_point()}
    for name, x in kept.items():
        if x.dtype not in (torch.float32, torch.float64):
            raise BrokenLawError(
                f"{where}: {name} is {x.dtype}, not at least float32 (memx.memory.state_dtype, no_autocast)", case
            )
    return kept
