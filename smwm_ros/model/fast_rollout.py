# SPDX-License-Identifier: Apache-2.0
"""
Rollouts of a trained model in less time, because a planner computes thousands of them.

With a history of one step, attention is an affine map (a softmax over one key is 1). The scales of
LayerNorm and BatchNorm are folded into the matrix products after them, and the modulation by the
actions is computed before the first step. So a rollout of `tiny` needs little more than half of
the arithmetic. The matrix products of all presets are those of kernels.py. Results are equal to
the model's up to rounding, except in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from smwm_ros.interfaces import Window
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.compiled import fused
from smwm_ros.model.kernels import lane_padding, PackedLinear, ROWS
from smwm_ros.model.networks import ForwardModel
from smwm_ros.model.recorded import can_record, Recorded
from smwm_ros.model.toy import ToyForwardModel
from smwm_ros.model.vit import Predictor, PredictorBlock
from smwm_ros.model.world_model import Smwm
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

Imagine: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (N, D), (N, T, K*A) -> (N, T, D)
Make: TypeAlias = Callable[..., PackedLinear]  # from weight, bias and activation
PARTS = 6  # of a modulation: shift, scale and gate of the attention, then of the MLP


def accelerate(
    model: object, half: bool = False, rows: int = ROWS
) -> FastModel | LatentActionModel | None:
    """
    Return the fast form of a trained model, or None if it has none.

    The weights must not change afterwards. With `half`, matrix products are computed in bfloat16,
    and results are less exact. `rows` is the expected number of parallel rollouts.
    """
    if isinstance(model, LatentActionModel):
        return model.in_half_precision() if half else None
    if not isinstance(model, Smwm):
        return None
    forward = model.forward_model
    on_gpu = can_record(next(forward.parameters()).device)
    make = partial(PackedLinear, half=half, rows=rows)
    imagine: Imagine
    with torch.no_grad():
        if isinstance(forward, ForwardModel):
            imagine = FastPerceptron(forward.change, make, adds=True, scale=forward.scale)
        elif isinstance(forward, ToyForwardModel):
            imagine = FastPerceptron(forward.layers, make, after='tanh')
        elif isinstance(forward, Predictor) and forward.history == 1:
            imagine = FastPredictor(forward, make, ahead=on_gpu)
        else:
            return None
    return FastModel(model, Recorded(imagine) if on_gpu else imagine)


class FastModel:
    """A world model with fast rollouts; all else is done by the model it was made from."""

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
        """Predict T steps, each from those before: (..., D), (..., T, K*A) -> (..., T, D)."""
        if torch.is_grad_enabled() and (z.requires_grad or actions.requires_grad):
            return self._model.rollout(z, actions)
        rows, steps = z.reshape(-1, self.latent), actions.reshape(-1, *actions.shape[-2:])
        with torch.no_grad():
            return self._imagine(rows, steps).view(*actions.shape[:-1], self.latent)


class FastPerceptron:
    """The forward models of nano and toy."""

    def __init__(
        self,
        layers: nn.Sequential,
        make: Make,
        after: str = 'none',
        adds: bool = False,
        scale: Tensor | None = None,  # (D,) of the latent in the layers
    ) -> None:
        first, second, last = linears(layers)
        reads: Tensor = first.weight
        changes: Tensor = last.weight
        bias: Tensor = last.bias
        if scale is not None:
            actions = scale.new_ones(first.in_features - len(scale))
            reads = reads * torch.cat([scale, actions])
            changes, bias = changes / scale[:, None], bias / scale
        self._fill = (0, lane_padding(first.in_features))
        self._first = make(F.pad(reads, self._fill), first.bias, 'relu')
        self._second = make(second.weight, second.bias, 'relu')
        self._last = make(changes, bias, after)
        self._adds = adds  # the layers predict the change of the latent

    def __call__(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps: (N, D), (N, T, K*A) -> (N, T, D)."""
        steps = []
        for action in F.pad(actions, self._fill).unbind(dim=1):
            found = self._last(self._second(self._first(torch.cat([z, action], dim=1))))
            z = found.add_(z) if self._adds else found
            steps.append(z)
        return torch.stack(steps, dim=1)


class FastPredictor:
    """The forward model of tiny with a history of one step."""

    def __init__(self, predictor: Predictor, make: Make, ahead: bool = False) -> None:
        # A convolution of kernel size 1 without activation is merged into the first layer.
        convolution = predictor.actions.narrow
        first, second = linears(predictor.actions.embed)
        weight = first.weight.double() @ convolution.weight.double().squeeze(-1)
        bias = first.weight.double() @ to_double(convolution.bias) + first.bias
        self._fill = (0, lane_padding(weight.shape[1]))
        self._embed = make(F.pad(weight, self._fill), bias, 'swish')
        # The modulation of every layer starts with the same swish.
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
        # On a GPU, the modulations of all steps and layers are one product, computed ahead. On a
        # CPU each is computed just before its use, so that it is still in the cache.
        self._ahead = ahead
        if ahead:
            weights, biases = zip(*modulations, strict=True)
            modulations = [(torch.cat(weights), torch.cat(biases))]
        self._modulate = [make(weight, bias) for weight, bias in modulations]
        self._step = fused(self._predict, self._position.device)

    def __call__(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps: (N, 192), (N, T, K*A) -> (N, T, 192)."""
        steps = []
        for condition in self._conditions(F.pad(actions, self._fill)):
            z = self._step(z, condition)
            steps.append(z)
        return torch.stack(steps, dim=1)

    def _conditions(self, actions: Tensor) -> Iterator[Tensor]:
        """Yield what the layers take from the actions of each step."""
        if self._ahead:
            conditions = self._condition(self._embed(actions.transpose(0, 1)))
            yield from self._modulate[0](conditions).unbind()
        else:
            for action in actions.unbind(dim=1):
                yield self._condition(self._embed(action))

    def _predict(self, z: Tensor, condition: Tensor) -> Tensor:
        """Predict one step: (N, 192) -> (N, 192)."""
        x = z + self._position
        all_parts = condition.chunk(PARTS * len(self._layers), dim=-1) if self._ahead else ()
        for number, layer in enumerate(self._layers):
            if self._ahead:
                parts = all_parts[PARTS * number : PARTS * (number + 1)]
            else:
                parts = self._modulate[number](condition).chunk(PARTS, dim=-1)
            x = layer(x, parts)
        return self._narrow(self._widen(normal(x, self._eps)))


class FastLayer:
    """A layer of the predictor for a sequence of one step."""

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
        """Return tokens (N, 192) after this layer, modulated by PARTS tensors (N, 192)."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        before, attention, mlp = self._eps
        y = normal(torch.addcmul(shift, normal(x, before), scale), attention)
        x = torch.addcmul(x, gate, self._attend(y))
        y = normal(torch.addcmul(shift_mlp, normal(x, before), scale_mlp), mlp)
        return torch.addcmul(x, gate_mlp, self._narrow(self._widen(y)))


def modulation(block: PredictorBlock) -> tuple[Tensor, Tensor]:
    """Return weight and bias that map a condition to shift, 1 + scale and gate, twice."""
    (layer,) = linears(block.modulation)
    bias = layer.bias.clone()
    bias.view(PARTS, -1)[[1, 4]] += 1.0
    return layer.weight, bias


def after_norm(weight: Tensor, bias: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a linear layer with the affine part of the norm before it."""
    weight = weight.double()
    return weight * norm.weight, bias + weight @ to_double(norm.bias)


def batch_norm(layers: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the BatchNorm among layers, from its running statistics."""
    (norm,) = (layer for layer in layers if isinstance(layer, nn.BatchNorm1d))
    scale = to_double(norm.weight) / (to_double(norm.running_var) + norm.eps).sqrt()
    return scale, to_double(norm.bias) - scale * to_double(norm.running_mean)


def linears(layers: nn.Sequential) -> list[nn.Linear]:
    """Return the linear layers among layers."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def to_double(values: Tensor | None) -> Tensor:
    """Return a parameter that these layers always have, in float64 for the merging."""
    assert values is not None
    return values.double()


def normal(x: Tensor, eps: float) -> Tensor:
    """Return rows with mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)
