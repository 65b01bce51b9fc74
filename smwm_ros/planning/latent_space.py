# SPDX-License-Identifier: Apache-2.0
"""
Planning in latent actions: a search over the noise of a prior, decoded to actions at the end.

A search over actions asks the controller for the latent action of every sample, also for actions
that never occur. A search over noise e tries only latent actions that are likely.
"""

from __future__ import annotations

from collections.abc import Sequence

from smwm_ros import config
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import Planner, Plans, Window, WorldModel
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.latent_actions.prior import FlowPrior, GaussianPrior
from smwm_ros.model.checkpoint import Checkpoint
import torch
from torch import Tensor

REACH = 2.5  # largest noise in each direction [standard deviations of the prior]


class NoiseModel:
    """A world model whose actions are noise e (..., Z); a prior makes latent actions of it."""

    def __init__(self, model: LatentActionModel, prior: GaussianPrior | FlowPrior) -> None:
        self.latent = model.latent  # D
        self._model, self._prior = model, prior

    @property
    def limit(self) -> Tensor:
        """Return the largest noise (Z,)."""
        weight = self._model.anchor.weight  # (K*A, Z)
        return weight.new_full((weight.shape[1],), REACH)

    def encode(self, pixels: Tensor) -> Tensor:
        """f: uint8 (B, 3, S, S) -> (B, D)."""
        return self._model.encode(pixels)

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), noise (B, Z) -> (B, D)."""
        return self._model.predict_latent(z, self._latent_action(z, action))

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps, each from those before: (..., D), noise (..., T, Z) -> (..., T, D)."""
        return self._model.unroll(z, actions, self.predict)

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> noise (B, Z)."""
        code = self._model.latent_action(self._model.map_of(z), self._model.map_of(z_next))
        return self._noise(z, code.mean)

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        return self._model.losses(batch)

    def decode(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return the actions (B, T, K*A) of noise (B, T, Z) from z (B, D) on."""
        actions = []
        for step in noise.unbind(dim=1):
            latent_action = self._latent_action(z, step)
            actions.append(self._model.decoder(latent_action, self._model.state_of(z)))
            z = self._model.predict_latent(z, latent_action)
        return torch.stack(actions, dim=1)

    def encode_actions(self, z: Tensor, actions: Tensor) -> Tensor:
        """Return the noise (B, T, Z) of actions (B, T, K*A) from z (B, D) on."""
        found = []
        for action in actions.unbind(dim=1):
            latent_action = self._model.controller(action, self._model.state_of(z))
            found.append(self._noise(z, latent_action))
            z = self._model.predict_latent(z, latent_action)
        return torch.stack(found, dim=1)

    def _latent_action(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return the latent actions (B, Z) of noise."""
        latent_action: Tensor = self._prior(noise, self._model.state_of(z))
        return latent_action

    def _noise(self, z: Tensor, latent_action: Tensor) -> Tensor:
        """Return the noise (B, Z) of latent actions."""
        noise: Tensor = self._prior.noise(latent_action, self._model.state_of(z))
        return noise


class LatentPlanner:
    """
    Returns the plans of a planner over noise as actions.

    One noise vector stands for K raw actions. So the last plan is shifted by whole model steps, to
    the nearest one. Of actions that were sent before, whole model steps become noise by way of the
    controller, and the search plans on from them; the rest replaces the first actions of the
    decoded step.
    """

    def __init__(
        self, planner: Planner, space: NoiseModel, low: Tensor, high: Tensor, block: int
    ) -> None:
        self._planner, self._space, self._block = planner, space, block
        self._low, self._high = low, high  # (K*A,) of actions, normalised

    @torch.no_grad()
    def plan_many(
        self, z: Tensor, goal: Tensor, past: Tensor | None = None, metric: Tensor | None = None
    ) -> Plans:
        """Return actions that lead from z (B, D) to goal (B, D), after the raw actions `past`."""
        whole = 0 if past is None else past.shape[1] // self._block  # model steps
        sent = None
        if past is not None and whole:
            steps = past[:, : whole * self._block].reshape(len(z), whole, -1)
            sent = self._space.encode_actions(z, steps)
        plans = self._planner.plan_many(z, goal, sent, metric)
        actions = self._space.decode(z, plans.actions)
        actions = torch.minimum(torch.maximum(actions, self._low), self._high)
        if past is not None:
            raw = actions.reshape(len(z), -1, past.shape[2])
            actions = torch.cat([past, raw[:, past.shape[1] :]], dim=1).reshape(actions.shape)
        return plans._replace(actions=actions)

    def shift(self, raw_steps: int) -> None:
        """Move the last plans on by the nearest number of model steps."""
        self._planner.shift((raw_steps + self._block // 2) // self._block)

    def keep(self, problems: Sequence[int]) -> None:
        """Keep only these problems of the last plans, in this order."""
        self._planner.keep(problems)

    def reset(self) -> None:
        """Forget the last plans, and begin the noise anew."""
        self._planner.reset()

    def cancel(self) -> None:
        """End the search that runs, or the next one before reset(); from any thread."""
        self._planner.cancel()


def require_free(settings: config.Planner) -> None:
    """Raise a ConfigError where other settings need a search over actions."""
    follows = settings.inner_kind in ('amortised', *config.ACTING)
    if settings.proposals or settings.retrieval or follows:
        raise ConfigError(
            f'planner.space: {settings.space}, but a policy or drives propose actions; use '
            'space=actions, or a search without proposals and retrieval'
        )
    if settings.max_rate:
        raise ConfigError(
            f'planner.space: {settings.space}, but max_rate limits actions; use space=actions, or '
            'node.max_rate'
        )


def noise_model(model: WorldModel, space: str) -> NoiseModel:
    """Return the model that plans in a space, or raise a ConfigError."""
    if not isinstance(model, LatentActionModel):
        raise ConfigError(
            f'planner.space: {space}: the model has no latent actions; use planner.space=actions, '
            'or train with model.kind=latent_action'
        )
    return NoiseModel(model, model.flow if space == 'flow' else model.gaussian)


def require_decoder(checkpoint: Checkpoint) -> None:
    """Raise a CheckpointError if nothing connects the latent actions of a model to actions."""
    latent = checkpoint.model_config.kind == 'latent_action'
    if latent and not checkpoint.info.actions:
        raise CheckpointError(
            f'{checkpoint.folder or "the checkpoint"}: its latent actions cannot be decoded, '
            'because no moment was labelled; label some (smwm label --ask), and train again'
        )
