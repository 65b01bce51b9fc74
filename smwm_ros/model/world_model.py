# SPDX-License-Identifier: Apache-2.0
"""
The sensorimotor world model: encoder f, forward model g, inverse model h.

f encodes a camera image as a small latent z. g predicts the latent after K raw actions. h infers
the actions from two latents, so f has to keep what the robot controls. All three are trained
together, and gradients flow into both latents: there is no stop-gradient and no moving average.
The kinds of model differ in the terms they add to the forward loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from smwm_ros.config import ALL, Model
from smwm_ros.interfaces import Window
from smwm_ros.model import toy, vit
from smwm_ros.model.actor import Actor
from smwm_ros.model.alignment import FarInverse, PictureHead, StateHead
from smwm_ros.model.multiplier import Multiplier
from smwm_ros.model.networks import (
    Encoder,
    ForwardModel,
    Heads,
    InverseModel,
    StackedEncoder,
)
from smwm_ros.model.sigreg import SigReg
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

# Joins the features of all processes: (T+1, B / processes, F) -> (T+1, B, F).
Gather: TypeAlias = Callable[[Tensor], Tensor]


class Smwm(nn.Module):
    """
    L = mean((g(f(o), a) - f(o'))^2) + lambda * mean((h(f(o), f(o')) - a)^2).

    In windows of several steps, g starts from its own last prediction, and h gets neighbouring
    frames.
    """

    def __init__(
        self, config: Model, image_size: int, action_size: int, state_size: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        scale: Tensor | None = None  # of a latent, whose changes are small
        self.encoder: Encoder | StackedEncoder | vit.VisionEncoder | toy.ToyEncoder
        self.forward_model: nn.Module
        width, hidden = config.latent, config.hidden
        if config.preset == 'tiny':
            width, hidden = vit.LATENT, vit.HIDDEN
            self.encoder = vit.VisionEncoder()
            self.forward_model = vit.Predictor(action_size, config.context)
        elif config.preset == 'toy':
            width, hidden = toy.LATENT, toy.HIDDEN
            self.encoder = toy.ToyEncoder(image_size)
            self.forward_model = toy.ToyForwardModel(action_size)
        else:
            self.encoder = encoder = Encoder(image_size, width, hidden, config.stem)
            if config.stack > 1:
                self.encoder = stacked = StackedEncoder(encoder, config.stack)
                scale, width = stacked.scale(width), config.stack * width
            self.forward_model = ForwardModel(width, action_size, hidden, scale)
        self.latent = width  # D
        self._place = width // config.stack  # numbers of z that one image determines
        # It reads places alone. Velocities explain the actions of a robot with inertia too well:
        # images of one pose need not look alike any more, and no distance leads to a goal.
        self.inverse_model = InverseModel(self._place, action_size, hidden, config.readout)
        if config.preset == 'nano':  # the other presets keep the initial weights of the paper
            self.inverse_model.start_from_difference()
        self.state_head = (
            StateHead(width, state_size, hidden, config) if config.aligns_state else None
        )
        self.picture_head = PictureHead(self._place, hidden) if config.picture_weight else None
        far = config.inverts and config.inverse_pairs == ALL
        reads = (self._place, action_size, hidden, config.readout)
        self.far_inverse = FarInverse(*reads) if far else None
        self.multiplier = (
            Multiplier(config.inverse_weight, config.inverse_target)
            if config.inverse_target
            else None
        )
        self.sigreg = SigReg(config.sigreg_directions) if config.regularises else None
        self.heads = Heads(width, action_size, config.heads) if config.heads else None
        self.actor = Actor(config, width, action_size, hidden, scale) if config.acts else None

    def encode(self, pixels: Tensor) -> Tensor:
        """f: uint8 (B, 3*H, S, S) -> (B, D)."""
        z: Tensor = self.encoder(pixels)
        return z.float()  # also under autocast: bfloat16 rounds by more than predictions err

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), (B, K*A) -> (B, D)."""
        z_next: Tensor = self.forward_model(z, action)
        return z_next

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A)."""
        action: Tensor = self.inverse_model(z[..., : self._place], z_next[..., : self._place])
        return action

    @property
    def inverse_weight(self) -> float:
        """Return lambda, the current weight of the inverse loss."""
        return self.multiplier().item() if self.multiplier else self.config.inverse_weight

    def losses(self, batch: Window, gather: Gather | None = None) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, of one process or of all that `gather` joins."""
        return self.terms(self.latents(batch, gather), batch)

    def latents(self, batch: Window, gather: Gather | None = None) -> tuple[Tensor, ...]:
        """Encode all frames of a batch, T+1 times (B, D), and then its goals, if it has any."""
        # One pass for all frames, so that BatchNorm normalises them together.
        pixels = batch.obs.pixels
        if batch.goal:
            pixels = torch.cat([pixels, batch.goal.pixels.unsqueeze(0)])
        steps = len(pixels)
        features = self.encoder.forward_features(pixels.flatten(0, 1))
        if gather:
            features = gather(features.view(steps, -1, features.shape[-1])).flatten(0, 1)
        return self.encoder.forward_head(features).float().chunk(steps)

    def terms(self, z: tuple[Tensor, ...], batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss for encoded frames."""
        goal = z[-1] if batch.goal else None
        z = z[: len(batch.action) + 1]
        weight = None if batch.weight is None else normalised(batch.weight)
        weights = [None] * len(batch.action) if weight is None else weight.unbind()
        steps = zip(self._predict_frames(z, batch.action), z[1:], weights, strict=True)
        scaled = self._scaled
        errors = [mean_square(scaled(found), scaled(true), share) for found, true, share in steps]
        terms = {'forward': torch.stack(errors).mean()}
        if self.multiplier:
            # The inverse error is held at its target, so g could lower its error without limit by
            # shrinking the latents. Dividing by their variance removes that way out.
            terms['forward'] = terms['forward'] / scaled(torch.cat(z)).var(dim=0).mean()
        now, then = torch.cat(z[:-1]), torch.cat(z[1:])
        actions = batch.action.flatten(0, 1)
        each = None if weight is None else weight.flatten()
        if self.config.inverts:
            lambda_ = self.multiplier() if self.multiplier else self.config.inverse_weight
            terms['inverse'] = lambda_ * mean_square(self.infer(now, then), actions, each)
            if self.far_inverse and len(z) > 2:
                pairs = self.far_inverse.pairs([frame[..., : self._place] for frame in z])
                missed = [
                    mean_square(inferred, batch.action[first], weights[first])
                    for first, inferred in pairs
                ]
                terms['far_inverse'] = lambda_ * torch.stack(missed).mean()
        else:
            # Here h does not train the encoder; it measures how well the actions can be inferred.
            inferred = self.infer(now.detach(), then.detach())
            terms['inverse'] = mean_square(inferred, actions, each)
        if self.sigreg:
            # Changes of places are no Gaussian of the same scale.
            places = torch.stack(z)[..., : self._place]
            terms['sigreg'] = self.config.sigreg_weight * self.sigreg(places)
        if self.picture_head:
            terms['picture'] = self.config.picture_weight * self.picture_head.error(z, batch.obs)
        if self.state_head:
            error = self.state_head.window_error(z, batch.obs.state)
            terms['state'] = self.config.state_weight * error
            if self.state_head.change:
                error = self.state_head.change_error(z, batch.obs.state)
                terms['state_change'] = self.config.state_change_weight * error
        if self.heads:  # do not train the encoder either
            predictions = self.heads(now.detach(), actions)
            true = then.detach().expand_as(predictions)
            terms['heads'] = mean_square(predictions, true, each)
        if self.actor and goal is not None:
            terms |= self.actor.terms(torch.stack(z), goal, batch, weight)
        return terms

    def readings(self, frames: Tensor) -> list[Tensor]:
        """Return what each head reads off successive latents (T+1, B, W): (T, B, n)."""
        found = []
        if self.state_head:
            found.append(self.state_head(frames[:-1], frames[1:]))
        if self.picture_head:
            found.append(self.picture_head(frames[1:, :, : self._place]))
        return found

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps, each from those before: (..., D), (..., T, K*A) -> (..., T, D)."""
        if self._sequence_model:
            return self._sequence_model.rollout(z, actions)
        return torch.stack(self._unroll(z, actions.unbind(dim=-2)), dim=-2)

    def _predict_frames(self, z: tuple[Tensor, ...], actions: Tensor) -> Sequence[Tensor]:
        """Predict every frame but the first of a batch: T times (B, D)."""
        if self._sequence_model:  # one step ahead, from all true frames so far
            frames, sent = torch.stack(z[:-1], dim=1), actions.transpose(0, 1)
            return self._sequence_model.predict_sequence(frames, sent).unbind(dim=1)
        return self._unroll(z[0], actions.unbind())

    def _scaled(self, z: Tensor) -> Tensor:
        """Return a latent in the scale in which its forward error counts."""
        return self.forward_model.scaled(z) if isinstance(self.forward_model, ForwardModel) else z

    def _unroll(self, z: Tensor, actions: Sequence[Tensor]) -> list[Tensor]:
        """Predict step after step, each from the last prediction."""
        steps = []
        for action in actions:
            z = self.predict(z, action)
            steps.append(z)
        return steps

    @property
    def _sequence_model(self) -> vit.Predictor | None:
        """Return the forward model if it uses more than one past step."""
        model = self.forward_model
        return model if isinstance(model, vit.Predictor) and model.history > 1 else None

    @torch.no_grad()
    def adapt(self, terms: Mapping[str, Tensor]) -> None:
        """Adjust lambda by the inverse error of the last step, if that has a target."""
        if self.multiplier:
            self.multiplier.ascend(terms['inverse'] / self.multiplier())


def normalised(weight: Tensor) -> Tensor:
    """Return weights (T, B) with mean 1, so that losses and lambda keep their scale."""
    return weight / weight.mean().clamp(min=torch.finfo(weight.dtype).tiny)


def mean_square(found: Tensor, true: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared error of (..., B, F), with weights (B,) for the transitions."""
    if weight is None:
        return F.mse_loss(found, true)
    return (F.mse_loss(found, true, reduction='none').mean(dim=-1) * weight).mean()
