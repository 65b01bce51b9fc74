# SPDX-License-Identifier: Apache-2.0
"""
The sensorimotor world model: encoder f, forward model g, inverse model h.

f turns a camera image into a small latent z. g says where K raw actions take z. h reads the
actions back from two latents, which forbids f to forget what the robot controls. All three learn
together and gradients flow into both latents; nothing is stopped or averaged. The kinds of model
differ in what they add to the forward loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smwm_ros.config import Model
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model import toy, vit
from smwm_ros.model.distributed import ProcessGroup
from smwm_ros.model.multiplier import Multiplier
from smwm_ros.model.networks import Encoder, ForwardModel, Heads, InverseModel, StateHead
from smwm_ros.model.sigreg import SigReg
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows


class Smwm(nn.Module):
    """
    L = mean((g(f(o), a) - f(o'))^2) + lambda * mean((h(f(o), f(o')) - a)^2).

    In windows of several steps, g goes on from its own prediction, and h sees neighbouring frames.
    """

    def __init__(
        self, config: Model, image_size: int, action_size: int, state_size: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder | vit.VisionEncoder | toy.ToyEncoder
        self.forward_model: nn.Module
        self.team = ProcessGroup()  # the processes that learn it
        width, hidden = config.latent, config.hidden
        if config.preset == 'tiny':
            width, hidden = vit.LATENT, vit.HIDDEN
            self.encoder = vit.VisionEncoder()
            self.forward_model = vit.Predictor(action_size, config.history)
        elif config.preset == 'toy':
            width, hidden = toy.LATENT, toy.HIDDEN
            self.encoder = toy.ToyEncoder(image_size)
            self.forward_model = toy.ToyForwardModel(action_size)
        else:
            self.encoder = Encoder(image_size, width, hidden)
            self.forward_model = ForwardModel(width, action_size, hidden)
        self.latent = width  # D
        self.inverse_model = InverseModel(width, action_size, hidden)
        if config.preset == 'nano':  # the others begin as in the paper
            self.inverse_model.watch_change()
        self.state_head = StateHead(width, state_size, hidden) if config.aligns_state else None
        self.multiplier = (
            Multiplier(config.inverse_weight, config.inverse_target)
            if config.inverse_target
            else None
        )
        self.sigreg = SigReg(config.sigreg_directions) if config.regularises else None
        self.heads = Heads(width, action_size, config.heads) if config.heads else None

    def encode(self, obs: Obs) -> Tensor:
        """f: pixels (B, 3, S, S) -> (B, D)."""
        z: Tensor = self.encoder(obs.pixels)
        return z.float()  # in half precision too, where predictions err by less than rounding

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), (B, K*A) -> (B, D)."""
        z_next: Tensor = self.forward_model(z, action)
        return z_next

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A)."""
        action: Tensor = self.inverse_model(z, z_next)
        return action

    @property
    def inverse_weight(self) -> float:
        """Return lambda as it is now."""
        return self.multiplier().item() if self.multiplier else self.config.inverse_weight

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        return self.terms(self.latents(batch), batch)

    def latents(self, batch: Window) -> tuple[Tensor, ...]:
        """Encode all frames of a batch: T+1 times (B, D)."""
        # One pass for all frames, so that BatchNorm sees them as one set.
        steps = len(batch.obs.pixels)
        seen = self.encoder.look(batch.obs.pixels.flatten(0, 1))
        seen = self.team.gather(seen.view(steps, -1, seen.shape[-1])).flatten(0, 1)
        return self.encoder.project(seen).float().chunk(steps)

    def terms(self, z: tuple[Tensor, ...], batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss of frames that are encoded already."""
        pairs = zip(self._imagine(z, batch.action), z[1:], strict=True)
        errors = [F.mse_loss(imagined, seen) for imagined, seen in pairs]
        terms = {'forward': torch.stack(errors).mean()}
        if self.multiplier:
            # With the inverse error held, g could only gain by shrinking the latents, without end.
            # So its error is taken as a share of their variance.
            terms['forward'] = terms['forward'] / torch.cat(z).var(dim=0).mean()
        now, then = torch.cat(z[:-1]), torch.cat(z[1:])
        actions = batch.action.flatten(0, 1)
        if self.config.inverts:
            weight = self.multiplier() if self.multiplier else self.config.inverse_weight
            terms['inverse'] = weight * F.mse_loss(self.infer(now, then), actions)
        else:
            # h only listens: it tells how much of the actions the latents show.
            terms['inverse'] = F.mse_loss(self.infer(now.detach(), then.detach()), actions)
        if self.sigreg:
            terms['sigreg'] = self.config.sigreg_weight * self.sigreg(torch.stack(z))
        if self.state_head:
            error = self.state_head.error(now, then, batch.obs.state[1:].flatten(0, 1))
            terms['state'] = self.config.state_weight * error
        if self.heads:  # they only listen, as above
            opinions = self.heads(now.detach(), actions)
            terms['heads'] = F.mse_loss(opinions, then.detach().expand_as(opinions))
        return terms

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Imagine T steps: (..., D), (..., T, K*A) -> (..., T, D)."""
        if self._remembers:
            return self._remembers.imagine(z, actions)
        return torch.stack(self._go_on(z, actions.unbind(dim=-2)), dim=-2)

    def _imagine(self, z: tuple[Tensor, ...], actions: Tensor) -> Sequence[Tensor]:
        """Predict every frame but the first of a batch: T times (B, D)."""
        if self._remembers:  # learns from all it remembers, one step ahead
            seen = torch.stack(z[:-1], dim=1)
            return self._remembers.follow(seen, actions.transpose(0, 1)).unbind(dim=1)
        return self._go_on(z[0], actions.unbind())

    def _go_on(self, z: Tensor, actions: Sequence[Tensor]) -> list[Tensor]:
        """Predict step after step, each from the prediction before it."""
        steps = []
        for action in actions:
            z = self.predict(z, action)
            steps.append(z)
        return steps

    @property
    def _remembers(self) -> vit.Predictor | None:
        """Return the forward model if it sees more than one step."""
        model = self.forward_model
        return model if isinstance(model, vit.Predictor) and model.history > 1 else None

    @torch.no_grad()
    def adapt(self, terms: Mapping[str, Tensor]) -> None:
        """Let lambda follow the error of the step that was just taken, if it has a target."""
        if self.multiplier:
            self.multiplier.ascend(terms['inverse'] / self.multiplier())


def make_model(config: Model, image_size: int, action_size: int, state_size: int = 0) -> Smwm:
    """Build the model that a config describes; action_size is K*A, state_size P."""
    for name, preset in (('latent', 'nano'), ('hidden', 'nano'), ('history', 'tiny')):
        if config.preset != preset and getattr(config, name) != getattr(Model, name):
            raise ConfigError(
                f'model.{name}: is a knob of preset {preset}, not of {config.preset}'
            )
    if config.inverse_target and not config.inverts:
        raise ConfigError(f'model.inverse_target: kind {config.kind} has no inverse loss')
    if config.inverse_target and not config.inverse_weight:
        raise ConfigError('model.inverse_target: the search needs an inverse_weight above 0')
    return Smwm(config, image_size, action_size, state_size)
