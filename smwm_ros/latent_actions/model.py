# SPDX-License-Identifier: Apache-2.0
"""
A world model that learns its actions from images: latent IDM, bottleneck and forward model.

To planners it is a world model like any other. Its latent of an image joins the state x, in which
distances are measured, with the map s, which the forward model needs. An action becomes a latent
action by the controller, z = c(a, x), and the forward model moves the map: s' = p(s, z).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy

from smwm_ros.config import Model
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Window
from smwm_ros.latent_actions.action_maps import ActionMap
from smwm_ros.latent_actions.bottlenecks import Code, make_bottleneck
from smwm_ros.latent_actions.frozen import FrozenEncoder, ModuleFile, MODULES
from smwm_ros.latent_actions.maps import MapEncoder, PatchPca, pooling
from smwm_ros.latent_actions.networks import (
    HalfPrecision,
    LatentForwardModel,
    LatentIdm,
    MapReader,
    mlp,
)
from smwm_ros.latent_actions.prior import FlowPrior, GaussianPrior
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

# Share of the map in a latent: small, so that the distance of two latents is that of their states.
CARRY = 1e-3
WARM_UP = 400  # optimiser steps in which the weight of the bottleneck rises


class LatentActionModel(nn.Module):
    """
    L = |p(s, z) - s'|^2 / |s - s'|^2 + bottleneck, for all transitions; z = g(s, s').

    Labelled transitions add |d(z) - a|^2, which grounds z in what the robot does; without them the
    bottleneck keeps whatever moves. The state x is trained by the loss of SMWM, with the decoded
    action where none was recorded.
    """

    motion: Tensor  # () mean squared change of a map in a model step
    steps: Tensor  # () optimiser steps so far

    heads = None  # of the kinds of SMWM
    actor = None
    state_head = None
    multiplier = None

    def __init__(
        self,
        config: Model,
        image_size: int,
        action_size: int,
        frozen: FrozenEncoder | None = None,  # instead of one of our own
    ) -> None:
        super().__init__()
        self.config = config
        lam = config.latent_action
        channels, side = lam.channels, image_size // lam.patch
        self.encoder: PatchPca | MapEncoder | FrozenEncoder
        self.norm: nn.Module = nn.Identity()
        if frozen:
            self.encoder = frozen
            channels, side, _ = frozen.shape
        elif lam.encoder == 'end_to_end':
            self.encoder = MapEncoder(channels, lam.patch, lam.hidden)
            self.norm = nn.BatchNorm2d(channels)
        else:
            self.encoder = PatchPca(channels, lam.patch, lam.blur)
        self.shape = (channels, side, side)  # of a map
        self.bottleneck = make_bottleneck(lam)
        self.idm = LatentIdm(channels, side, lam.hidden, self.bottleneck.inputs)
        self.forward_model = LatentForwardModel(channels, lam.width, lam.hidden)
        self.anchor = nn.Linear(lam.width, action_size)
        self.state = nn.Sequential(
            MapReader(channels, side, lam.hidden, config.latent), nn.BatchNorm1d(config.latent)
        )
        self.inverse_model = mlp(2 * config.latent, config.hidden, action_size)
        self.decoder = ActionMap(lam.width, config.latent, action_size)
        self.controller = ActionMap(action_size, config.latent, lam.width)
        self.gaussian = GaussianPrior(lam.width)
        self.flow = FlowPrior(lam.width, config.latent)
        # A reference, which gets z = 0.
        self.baseline = LatentForwardModel(channels, lam.width, lam.hidden // 2)
        self.register_buffer('motion', torch.ones(()))
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))

    @property
    def latent(self) -> int:
        """Return D, the width of a latent: that of x, and of the flattened map."""
        channels, height, width = self.shape
        return self.config.latent + channels * height * width

    def encode(self, pixels: Tensor) -> Tensor:
        """f: uint8 (B, 3, S, S) -> (B, D)."""
        return self._join(self.norm(self.encoder(pixels).float()))

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), (B, K*A) -> (B, D), by way of the controller."""
        return self.predict_latent(z, self.controller(action, self.state_of(z)))

    def predict_latent(self, z: Tensor, latent_action: Tensor) -> Tensor:
        """p: (B, D), latent actions (B, Z) -> (B, D)."""
        return self._join(self.forward_model(self.map_of(z), latent_action))

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps, each from those before: (..., D), (..., T, K*A) -> (..., T, D)."""
        return self.unroll(z, actions, self.predict)

    def rollout_latent(self, z: Tensor, latent_actions: Tensor) -> Tensor:
        """Predict T steps of latent actions: (..., D), (..., T, Z) -> (..., T, D)."""
        return self.unroll(z, latent_actions, self.predict_latent)

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A), decoded from the latent action."""
        code = self.latent_action(self.map_of(z), self.map_of(z_next))
        action: Tensor = self.decoder(code.mean, self.state_of(z))
        return action

    def in_half_precision(self) -> LatentActionModel:
        """Return a model with the same weights that predicts in bfloat16."""
        half = copy(self)
        half._modules = {**self._modules, 'forward_model': HalfPrecision(self.forward_model)}
        return half

    def latent_action(self, s: Tensor, s_next: Tensor, content: Tensor | None = None) -> Code:
        """
        Return the latent actions between maps (B, C, H, W).

        `content` (B,) is what happened between them: the error of the prediction without action.
        """
        scheduled = content if self.config.latent_action.schedule else None
        # Also under autocast: the statistics of a bottleneck need more than bfloat16.
        code: Code = self.bottleneck(self.idm(s, s_next).float(), scheduled)
        return code

    def state_of(self, z: Tensor) -> Tensor:
        """Return x (..., X), the part of a latent in which distances are measured."""
        return z[..., : self.config.latent]

    def map_of(self, z: Tensor) -> Tensor:
        """Return the map (..., C, H, W) in a latent."""
        s: Tensor = z[..., self.config.latent :] / CARRY
        return s.reshape(*z.shape[:-1], *self.shape)

    def losses(
        self, batch: Window, gather: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, of one process or of all that `gather` joins."""
        return self.terms(self.maps(batch, gather), batch)

    def maps(
        self, batch: Window, gather: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """Encode all frames of a batch: T+1 times (B, C, H, W)."""
        steps = len(batch.obs.pixels)
        s = self.encoder(batch.obs.pixels.flatten(0, 1)).float()
        if gather:
            s = gather(s.flatten(1).unflatten(0, (steps, -1))).flatten(0, 1)
            s = s.reshape(-1, *self.shape)
        return tuple(self.norm(s).chunk(steps))

    def latents(self, batch: Window) -> tuple[Tensor, ...]:
        """Encode all frames of a batch: T+1 times (B, D)."""
        return tuple(self._join(s) for s in self.maps(batch))

    def terms(self, s: Sequence[Tensor], batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss for the maps of all frames."""
        now, then = torch.cat(tuple(s[:-1])), torch.cat(tuple(s[1:]))
        known, actions = recorded(batch)
        # The maps of an encoder that is trained could shrink, and the errors with them.
        scale = now.var(dim=0).mean() if self.trains_encoder else self.motion
        missed = (self.without_action(now.detach()) - then.detach()).square().mean(dim=(1, 2, 3))
        code = self.latent_action(now, then, missed.detach())
        predicted, errors = [s[0]], []
        for z, true in zip(code.z.chunk(len(s) - 1), s[1:], strict=True):
            predicted.append(self.forward_model(predicted[-1], z))
            errors.append(F.mse_loss(predicted[-1], true))
        squares = (known * (self.anchor(code.z) - actions).square()).mean(dim=1)
        warm_up = (self.steps / WARM_UP).clamp(max=1)
        terms = {
            'forward': torch.stack(errors).mean() / scale,
            'bottleneck': warm_up * code.loss,
            'anchor': self.config.latent_action.anchor * squares.sum() / known.sum().clamp(min=1),
            'baseline': missed.mean() / scale.detach(),
        }
        target = torch.where(known, actions, self.anchor(code.mean).detach())
        return {**terms, **self._state_terms(s, predicted[1:], target)}

    def _state_terms(
        self, s: Sequence[Tensor], predicted: Sequence[Tensor], actions: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss of SMWM on the states x of true and of predicted maps."""
        if not self.trains_encoder:
            s, predicted = [part.detach() for part in s], [part.detach() for part in predicted]
        # Together, so that BatchNorm normalises them together.
        x = self.state(torch.cat([*s, *predicted])).chunk(len(s) + len(predicted))
        now, then, ahead = torch.cat(x[: len(s) - 1]), torch.cat(x[1 : len(s)]), x[len(s) :]
        inferred = self.inverse_model(torch.cat([then - now, now], dim=1))
        return {
            'state': F.mse_loss(torch.cat(ahead), then),
            'inverse': self.config.inverse_weight * F.mse_loss(inferred, actions),
        }

    def without_action(self, s: Tensor) -> Tensor:
        """Predict maps without any latent action: the reference for what z adds."""
        predicted: Tensor = self.baseline(s, s.new_zeros(len(s), self.bottleneck.width))
        return predicted

    @torch.no_grad()
    def fit_encoder(self, now: Tensor, then: Tensor) -> None:
        """Fit a frozen encoder to images (n, 3, S, S) and to those a model step later."""
        if not isinstance(self.encoder, MapEncoder):
            self.encoder.fit(now)
            self.motion.copy_((self.encoder(then) - self.encoder(now)).square().mean())

    @property
    def trains_encoder(self) -> bool:
        """Return whether the encoder is trained end to end."""
        return isinstance(self.encoder, MapEncoder)

    @property
    def module_file(self) -> ModuleFile | None:
        """Return the file that the encoder runs, if it runs one."""
        network = self.encoder.network if isinstance(self.encoder, FrozenEncoder) else None
        return network if isinstance(network, ModuleFile) else None

    @property
    def inverse_weight(self) -> float:
        """Return lambda of the loss of SMWM on the states x."""
        return self.config.inverse_weight

    @torch.no_grad()
    def adapt(self, terms: Mapping[str, Tensor]) -> None:
        """Count a step, and adjust what follows the data rather than the gradient."""
        self.steps += 1
        self.bottleneck.adapt()

    def _join(self, s: Tensor) -> Tensor:
        """Return the latents (B, D) of maps."""
        return torch.cat([self.state(s), CARRY * s.flatten(1)], dim=1)

    def unroll(
        self, z: Tensor, actions: Tensor, predict: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Predict T steps of actions of any kind: (..., D), (..., T, N) -> (..., T, D)."""
        rows, found = z.reshape(-1, z.shape[-1]), []
        for action in actions.unbind(dim=-2):
            rows = predict(rows, action.reshape(len(rows), -1))
            found.append(rows)
        return torch.stack(found, dim=1).view(*actions.shape[:-1], -1)


def recorded(batch: Window) -> tuple[Tensor, Tensor]:
    """Return which transitions have recorded actions (T*B, 1), and all actions, 0 elsewhere."""
    actions = batch.action.flatten(0, 1)
    known = actions.isfinite().all(dim=1, keepdim=True)
    if batch.weight is not None:  # labels that a model inferred ground nothing
        known = known & (batch.weight.flatten() == 1).unsqueeze(1)
    return known, torch.where(known, actions, 0.0)


def require_possible(config: Model, image_size: int) -> None:
    """Raise a ConfigError where knobs of a latent-action model do not fit together."""
    lam = config.latent_action
    if config.history > 1:
        raise ConfigError(
            f'model.history: {config.history}, but a latent-action model reads one image at a '
            'time; set it to 1'
        )
    if lam.encoder in (*MODULES, 'smwm') and not lam.encoder_file:
        raise ConfigError(
            f'model.latent_action.encoder_file: empty, but encoder={lam.encoder} needs a path'
        )
    own = lam.encoder in ('patch_pca', 'end_to_end')
    if own and (image_size % lam.patch or image_size // lam.patch < 4):
        raise ConfigError(
            f'model.latent_action.patch: {lam.patch}, expected a divisor of the image size, '
            f'{image_size} px, and at most a quarter of it'
        )
    numbers = 3 * (lam.patch // pooling(lam.patch, lam.blur)) ** 2
    if lam.encoder == 'patch_pca' and lam.channels > numbers:
        raise ConfigError(
            f'model.latent_action.channels: {lam.channels}, expected at most {numbers}, the '
            f'numbers in a patch of {lam.patch} px with a blur of {lam.blur:g} px'
        )
    if lam.bottleneck == 'pvq' and lam.width % lam.groups:
        raise ConfigError(
            f'model.latent_action.width: {lam.width}, expected a multiple of '
            f'model.latent_action.groups, {lam.groups}'
        )
