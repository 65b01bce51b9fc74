# SPDX-License-Identifier: Apache-2.0
"""
The same rollouts as the model's, in less time: a planner asks for thousands of them.

With a memory of one step, attention is an affine map, for a softmax over one key is 1. The scales
of norms and BatchNorm belong to the products after them, and how the actions modulate the layers
is known before the first step. So a rollout of `tiny` takes little more than half of the
arithmetic; what remains, of any preset, is done as products.py does it. The numbers are those of
the model up to rounding, unless half precision is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from smwm_ros.interfaces import Window
from smwm_ros.model.compiled import fused
from smwm_ros.model.kernels import gap, PackedLinear, ROWS
from smwm_ros.model.networks import ForwardModel
from smwm_ros.model.recorded import can_record, Recorded
from smwm_ros.model.toy import ToyForwardModel
from smwm_ros.model.vit import Predictor, PredictorBlock
from smwm_ros.model.world_model import Smwm
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

Imagine: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (N, D), (N, T, K*A) -> (N, T, D)
Make: TypeAlias = Callable[..., PackedLinear]  # of weight, bias and what follows
PARTS = 6  # of a modulation: shift, scale and gate of the attention, then of the perceptron


def collapse(model: object, half: bool = False, rows: int = ROWS) -> Collapsed | None:
    """
    Return the fast form of a trained model, or None if it has none.

    The model must not learn any more. With `half`, matrix products are done in bfloat16, and the
    result is not exact. Fastest for about as many paths at once as there are `rows`.
    """
    if not isinstance(model, Smwm):
        return None
    forward = model.forward_model
    on_gpu = can_record(next(forward.parameters()).device)
    make = partial(PackedLinear, half=half, rows=rows)
    imagine: Imagine
    with torch.no_grad():
        if isinstance(forward, ForwardModel):
            imagine = FastPerceptron(forward.change, make, adds=True)
        elif isinstance(forward, ToyForwardModel):
            imagine = FastPerceptron(forward.layers, make, after='tanh')
        elif isinstance(forward, Predictor) and forward.history == 1:
            imagine = FastPredictor(forward, make, ahead=on_gpu)
        else:
            return None
    return Collapsed(model, Recorded(imagine) if on_gpu else imagine)


class Collapsed:
    """A world model that imagines fast, and leaves the rest to the model it was made from."""

    def __init__(self, model: Smwm, imagine: Imagine) -> None:
        self.latent = model.latent  # D
        self._model, self._imagine = model, imagine

    def encode(self, pixels: Tensor) -> Tensor:
        """f: uint8 (B, 3, S, S) -> (B, D)."""
        return self._model.encode(pixels)

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (..., D), (..., K*A) -> (..., D)."""
        return self.rollout(z, action.unsqueeze(-2)).squeeze(-2)

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A)."""
        return self._model.infer(z, z_next)

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        return self._model.losses(batch)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Imagine T steps: (..., D), (..., T, K*A) -> (..., T, D)."""
        if torch.is_grad_enabled() and (z.requires_grad or actions.requires_grad):
            return self._model.rollout(z, actions)
        places, ways = z.reshape(-1, self.latent), actions.reshape(-1, *actions.shape[-2:])
        with torch.no_grad():
            return self._imagine(places, ways).view(*actions.shape[:-1], self.latent)


class FastPerceptron:
    """The forward models of nano and toy."""

    def __init__(
        self, layers: nn.Sequential, make: Make, after: str = 'none', adds: bool = False
    ) -> None:
        first, second, last = linears(layers)
        self._fill = (0, gap(first.in_features))
        self._first = make(F.pad(first.weight, self._fill), first.bias, 'relu')
        self._second = make(second.weight, second.bias, 'relu')
        self._last = make(last.weight, last.bias, after)
        self._adds = adds  # predicts how the latent changes

    def __call__(self, z: Tensor, actions: Tensor) -> Tensor:
        """Imagine: (N, D), (N, T, K*A) -> (N, T, D)."""
        steps = []
        for action in F.pad(actions, self._fill).unbind(dim=1):
            found = self._last(self._second(self._first(torch.cat([z, action], dim=1))))
            z = found.add_(z) if self._adds else found
            steps.append(z)
        return torch.stack(steps, dim=1)


class FastPredictor:
    """The forward model of tiny, where it remembers one step."""

    def __init__(self, predictor: Predictor, make: Make, ahead: bool = False) -> None:
        # The convolution is one step wide, and nothing lies between it and the first layer.
        convolution = predictor.actions.narrow
        first, second = linears(predictor.actions.embed)
        weight = first.weight.double() @ convolution.weight.double().squeeze(-1)
        bias = first.weight.double() @ to_double(convolution.bias) + first.bias
        self._fill = (0, gap(weight.shape[1]))
        self._read = make(F.pad(weight, self._fill), bias, 'swish')
        # The modulation of every layer begins with the same swish.
        self._condition = make(second.weight, second.bias, 'swish')
        self._position = predictor.position[0, 0].clone()
        blocks = [block for block in predictor.layers if isinstance(block, PredictorBlock)]
        self._layers = [FastLayer(block, make) for block in blocks]
        self._eps = predictor.norm.eps
        widen, narrow = linears(predictor.projector)
        scale, shift = batch_norm(predictor.projector)
        weight, bias = after_norm(widen.weight, widen.bias, predictor.norm)
        self._widen = make(scale[:, None] * weight, scale * bias + shift, 'gelu')
        self._narrow = make(narrow.weight, narrow.bias)
        modulations = [modulation(block) for block in blocks]
        # A GPU does the modulations of all steps and layers ahead, at once. A CPU does each just
        # before it is used, and finds it in its cache.
        self._ahead = ahead
        if ahead:
            weights, biases = zip(*modulations, strict=True)
            modulations = [(torch.cat(weights), torch.cat(biases))]
        self._modulate = [make(weight, bias) for weight, bias in modulations]
        self._step = fused(self._go, self._position.device)

    def __call__(self, z: Tensor, actions: Tensor) -> Tensor:
        """Imagine: (N, 192), (N, T, K*A) -> (N, T, 192)."""
        steps = []
        for drive in self._drives(F.pad(actions, self._fill)):
            z = self._step(z, drive)
            steps.append(z)
        return torch.stack(steps, dim=1)

    def _drives(self, actions: Tensor) -> Iterator[Tensor]:
        """Yield, step by step, all that the layers need to know of the actions."""
        if self._ahead:
            conditions = self._condition(self._read(actions.transpose(0, 1)))
            yield from self._modulate[0](conditions).unbind()
        else:
            for action in actions.unbind(dim=1):
                yield self._condition(self._read(action))

    def _go(self, z: Tensor, drive: Tensor) -> Tensor:
        """Go one step: (N, 192) -> (N, 192)."""
        x = z + self._position
        all_parts = drive.chunk(PARTS * len(self._layers), dim=-1) if self._ahead else ()
        for number, layer in enumerate(self._layers):
            if self._ahead:
                parts = all_parts[PARTS * number : PARTS * (number + 1)]
            else:
                parts = self._modulate[number](drive).chunk(PARTS, dim=-1)
            x = layer(x, parts)
        return self._narrow(self._widen(normal(x, self._eps)))


class FastLayer:
    """A layer of the predictor, for a step that sees nothing but itself."""

    def __init__(self, block: PredictorBlock, make: Make) -> None:
        value = block.qkv.weight.double().chunk(3)[2]
        weight, bias = block.out.weight.double() @ value, block.out.bias
        self._attend = make(*after_norm(weight, bias, block.norm_attention))
        widen, narrow = linears(block.mlp)
        norm = block.mlp[0]
        assert isinstance(norm, nn.LayerNorm)
        self._widen = make(*after_norm(widen.weight, widen.bias, norm), 'gelu')
        self._narrow = make(narrow.weight, narrow.bias)
        self._eps = (block.norm.eps, block.norm_attention.eps, norm.eps)

    def __call__(self, x: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Change tokens (N, 192) as the parts of a modulation say, (N, 192) each."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        before, attention, mlp = self._eps
        seen = normal(torch.addcmul(shift, normal(x, before), scale), attention)
        x = torch.addcmul(x, gate, self._attend(seen))
        seen = normal(torch.addcmul(shift_mlp, normal(x, before), scale_mlp), mlp)
        return torch.addcmul(x, gate_mlp, self._narrow(self._widen(seen)))


def modulation(block: PredictorBlock) -> tuple[Tensor, Tensor]:
    """Return weight and bias that give shift, 1 + scale and gate, twice, from a condition."""
    (layer,) = linears(block.modulation)
    bias = layer.bias.clone()
    bias.view(PARTS, -1)[[1, 4]] += 1.0
    return layer.weight, bias


def after_norm(weight: Tensor, bias: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return what a linear layer after a norm is, when the norm leaves its own scale to it."""
    weight = weight.double()
    return weight * norm.weight, bias + weight @ to_double(norm.bias)


def batch_norm(layers: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the BatchNorm among layers, with the statistics it has learnt."""
    (norm,) = (layer for layer in layers if isinstance(layer, nn.BatchNorm1d))
    scale = to_double(norm.weight) / (to_double(norm.running_var) + norm.eps).sqrt()
    return scale, to_double(norm.bias) - scale * to_double(norm.running_mean)


def linears(layers: nn.Sequential) -> list[nn.Linear]:
    """Return the linear layers among layers."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def to_double(values: Tensor | None) -> Tensor:
    """Return what these layers always have, precise enough to be multiplied with others."""
    assert values is not None
    return values.double()


def normal(x: Tensor, eps: float) -> Tensor:
    """Return every row with mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)
