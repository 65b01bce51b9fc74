# SPDX-License-Identifier: Apache-2.0
"""A latent-action model is a world model, and only recorded actions ground it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.latent_actions.maps import PatchPca, pooling
from smwm_ros.latent_actions.model import LatentActionModel, recorded, WARM_UP
from smwm_ros.model.any_model import make_any
from smwm_ros.model.checkpoint import load, save
from smwm_ros.model.world_model import Smwm
from smwm_ros.training import learner
from smwm_ros.training.augment import Strength
from smwm_ros.training.learner import Learner
import torch
from torch import Tensor
from worlds import BLOCK, draw_dot, SIZE, TINY, tiny_checkpoint

pytestmark = pytest.mark.usefixtures('one_thread')
LAM = config.LatentAction(width=3, channels=4, patch=4, hidden=8, blur=2.0, shift=2)
LATENT = replace(TINY, kind='latent_action', latent_action=LAM)
CPU = torch.device('cpu')
ACTIONS = 2 * BLOCK
END_TO_END = replace(LATENT, latent_action=replace(LAM, encoder='end_to_end'))


def window(count: int = 24, steps: int = 1, seed: int = 0) -> Window:
    """Draw windows of a dot that moves by half of its commands."""
    rng = np.random.default_rng(seed)
    action = rng.normal(size=(steps, count, ACTIONS))
    moves = 0.3 * action.reshape(steps, count, BLOCK, 2).sum(2)
    places = rng.uniform(-1, 1, (1, count, 2)) + np.concatenate(
        [np.zeros((1, count, 2)), moves.cumsum(0)]
    )
    pixels = np.stack([draw_dot(place) for place in places.reshape(-1, 2)])
    shaped = torch.from_numpy(pixels.reshape(steps + 1, count, SIZE, SIZE, 3))
    obs = Obs(shaped.permute(0, 1, 4, 2, 3), torch.zeros(steps + 1, count, 0))
    return Window(obs, torch.from_numpy(action.astype(np.float32)))


def make(model_config: config.Model = LATENT) -> LatentActionModel:
    """Return a model with a fitted encoder and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_any(model_config, SIZE, ACTIONS)
        assert isinstance(model, LatentActionModel)
        pixels = window(200).obs.pixels
        model.fit_encoder(pixels[0], pixels[1])
        for weight in (model.forward_model.change.weight, model.baseline.change.weight):
            torch.nn.init.normal_(weight, std=0.3)  # else no latent action has an effect
        model.train()
        for _ in range(30):  # statistics of BatchNorm
            model.losses(window(64))
    return model.eval()


def test_a_rollout_is_repeated_prediction_and_goes_by_way_of_the_map() -> None:
    model, batch = make(), window(5, steps=3)
    z, actions = model.encode(batch.obs.pixels[0]), batch.action.transpose(0, 1)
    assert z.shape == (5, model.latent)
    path = model.rollout(z, actions)
    assert path.shape == (5, 3, model.latent)
    one = z
    for step in range(3):
        code = model.controller(actions[:, step], model.state_of(one))
        s = model.forward_model(model.map_of(one), code)
        one = model.predict(one, actions[:, step])
        assert torch.equal(one, path[:, step])
        assert torch.allclose(model.map_of(one), s, atol=1e-5)
        assert torch.allclose(model.state_of(one), model.state(s), atol=1e-5)
    assert not torch.allclose(path[:, 0], path[:, 1], atol=1e-3)
    codes = torch.randn(5, 3, LAM.width)
    two = model.predict_latent(model.predict_latent(z, codes[:, 0]), codes[:, 1])
    assert torch.equal(model.rollout_latent(z, codes)[:, 1], two)


def test_leading_dimensions_are_kept() -> None:
    model, batch = make(), window(6, steps=3)
    z, actions = model.encode(batch.obs.pixels[0]), batch.action.transpose(0, 1)
    path = model.rollout(z, actions)
    shaped = model.rollout(z.view(2, 3, -1), actions.reshape(2, 3, 3, -1))
    assert torch.equal(shaped, path.view(2, 3, 3, -1))
    assert torch.allclose(model.rollout(z[0], actions[0]), path[0], atol=1e-5)
    assert model.map_of(z.view(2, 3, -1)).shape == (2, 3, *model.shape)


def test_a_latent_holds_the_map_and_its_distance_is_that_of_the_state() -> None:
    for model in (make(), make(END_TO_END)):
        pixels = window(64).obs.pixels[0]
        z = model.encode(pixels)
        s = model.norm(model.encoder(pixels))
        assert torch.allclose(model.map_of(z), s, atol=1e-5)
        apart, states = torch.pdist(z), torch.pdist(model.state_of(z))
        far = states > states.median()
        assert ((apart / states)[far] - 1).abs().max() < 0.01


def slopes(loss: Tensor, part: torch.nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(part.parameters()), allow_unused=True))


def test_a_frozen_encoder_has_nothing_to_train_and_states_train_no_prediction() -> None:
    model = make().train()
    assert not list(model.encoder.parameters())
    assert not list(model.norm.parameters())
    terms = model.losses(window())
    for name in ('state', 'inverse'):
        assert all(slope is None for slope in slopes(terms[name], model.forward_model))
        terms = model.losses(window())
    model = make(END_TO_END).train()
    for name in ('forward', 'state', 'inverse'):
        found = slopes(model.losses(window())[name], model.encoder)
        assert all(slope is not None and slope.abs().sum() > 0 for slope in found[:-1]), name
    found = slopes(model.losses(window())['state'], model.forward_model)
    assert all(slope is not None for slope in found)


def test_the_model_without_action_is_a_reference_that_trains_nothing_else() -> None:
    model, batch = make(END_TO_END).train(), window()
    s = model.maps(batch)[0]
    assert torch.equal(model.without_action(s), model.baseline(s, torch.zeros(24, LAM.width)))
    for name, own in model.named_children():
        alone = model.losses(batch)['baseline']
        weights = [weight for weight in own.parameters() if weight.requires_grad]
        if not weights:
            continue
        found = torch.autograd.grad(alone, weights, allow_unused=True)
        assert any(slope is not None for slope in found) == (name == 'baseline'), name
    terms = model.losses(batch)
    rest = sum(term for key, term in terms.items() if key != 'baseline')
    assert isinstance(rest, Tensor)
    assert all(slope is None for slope in slopes(rest, model.baseline))


def test_the_forward_error_is_a_share_of_the_motion() -> None:
    model, batch = make(), window(40, steps=2)
    for parameter in (model.forward_model.change.weight, model.baseline.change.weight):
        torch.nn.init.zeros_(parameter)  # the copy baseline
    s = model.maps(batch)
    terms = model.terms(s, batch)
    first, second = ((part - s[0]).square().mean() / model.motion for part in s[1:])
    assert float(terms['forward']) == pytest.approx(float((first + second) / 2), rel=1e-4)
    moved = torch.cat(s[1:]) - torch.cat(s[:-1])
    assert float(terms['baseline']) == pytest.approx(
        float(moved.square().mean() / model.motion), rel=1e-4
    )
    pixels = window(200).obs.pixels
    change = (model.encoder(pixels[1]) - model.encoder(pixels[0])).square().mean()
    assert float(model.motion) == pytest.approx(float(change), rel=1e-4)


def test_later_steps_start_from_predictions() -> None:
    model, batch = make(), window(40, steps=2)
    s = model.maps(batch)
    code = model.latent_action(torch.cat(s[:-1]), torch.cat(s[1:])).mean.chunk(2)
    one = model.forward_model(s[0], code[0])
    two = model.forward_model(one, code[1])
    error = ((one - s[1]).square().mean() + (two - s[2]).square().mean()) / 2 / model.motion
    assert float(model.terms(s, batch)['forward']) == pytest.approx(float(error), rel=1e-4)


def with_gaps(batch: Window, labels: bool) -> Window:
    """Hide a third of the actions; another third become labels of low confidence."""
    count = batch.action.shape[1]
    weight = torch.ones(batch.action.shape[:2])
    weight[:, ::3] = 0.0
    action = batch.action.clone()
    action[:, ::3, 1:] = np.nan
    if labels:
        weight[:, 1::3] = 0.99
    assert count % 3 == 0
    return batch._replace(action=action, weight=weight)


@pytest.mark.parametrize('model_config', [LATENT, END_TO_END])
def test_unknown_actions_poison_nothing(model_config: config.Model) -> None:
    model, batch = make(model_config).train(), with_gaps(window(steps=2), labels=True)
    terms = model.losses(batch)
    assert all(term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    nothing = batch._replace(action=torch.full_like(batch.action, np.nan), weight=None)
    assert float(model.losses(nothing)['anchor']) == 0.0


def test_only_recorded_actions_anchor_the_latent_action() -> None:
    model, batch = make(), with_gaps(window(steps=2), labels=True)
    known, actions = recorded(batch)
    assert known.flatten().tolist() == [n % 3 == 2 for n in range(24)] * 2
    assert not actions[~known.flatten()].any()
    s = model.maps(batch)
    code = model.latent_action(torch.cat(s[:-1]), torch.cat(s[1:]))
    missed = (model.anchor(code.mean) - batch.action.flatten(0, 1)).square().mean(dim=1)
    expected = missed[known.flatten()].mean()
    terms = model.terms(s, batch)
    assert float(terms['anchor']) == pytest.approx(float(expected), rel=1e-4)
    twice = replace(LATENT, latent_action=replace(LAM, anchor=2.0))
    assert float(make(twice).terms(s, batch)['anchor']) == pytest.approx(2 * float(expected), 1e-4)
    action = batch.action.clone()
    action[:, 1::3] += 5.0  # labels that a model inferred
    other = model.terms(s, batch._replace(action=action))
    assert {name: float(term) for name, term in other.items()} == {
        name: float(term) for name, term in terms.items()
    }


def test_states_learn_from_decoded_actions_where_none_was_recorded() -> None:
    model, batch = make(), with_gaps(window(), labels=False)
    s = model.maps(batch)
    known, actions = recorded(batch)
    decoded = model.anchor(model.latent_action(*s).mean)
    filled = torch.where(known, actions, decoded)
    whole = batch._replace(action=filled[None], weight=torch.ones(1, 24))
    assert torch.allclose(model.terms(s, whole)['inverse'], model.terms(s, batch)['inverse'])


def test_the_weight_of_the_bottleneck_rises() -> None:
    model, batch = make(), window()
    whole = float(model.latent_action(*model.maps(batch)).loss)
    assert whole > 0
    for steps, share in ((0, 0.0), (WARM_UP // 2, 0.5), (WARM_UP, 1.0), (3 * WARM_UP, 1.0)):
        model.steps.fill_(steps)
        assert float(model.losses(batch)['bottleneck']) == pytest.approx(share * whole, rel=1e-4)
    model.adapt({})
    assert int(model.steps) == 3 * WARM_UP + 1


def test_the_schedule_follows_the_error_of_the_prediction_without_action() -> None:
    scheduled = replace(LATENT, latent_action=replace(LAM, schedule=True))
    batch, found = window(), list[float]()
    for model in (make(), make(scheduled)):
        model.steps.fill_(WARM_UP)
        last = list(model.idm.parameters())[-2]
        last.data *= 30  # else all transitions cost the same
        s = model.maps(batch)
        content = (model.without_action(s[0]) - s[1]).square().mean(dim=(1, 2, 3))
        expected = model.bottleneck(model.idm(*s), content if len(found) else None).loss
        found.append(model.terms(s, batch)['bottleneck'].item())
        assert found[-1] == pytest.approx(float(expected), rel=1e-4)
    assert found[0] != pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize('bottleneck', config.BOTTLENECKS)
def test_a_checkpoint_predicts_the_same_to_the_bit(bottleneck: str, tmp_path: Path) -> None:
    lam = replace(LAM, bottleneck=bottleneck, groups=3, codes=8)
    model_config = replace(LATENT, latent_action=lam)
    model, batch = make(model_config).requires_grad_(False), window(8, steps=2)
    checkpoint = tiny_checkpoint()._replace(model=model, model_config=model_config)
    save(tmp_path, checkpoint)
    found = load(tmp_path)
    assert isinstance(found.model, LatentActionModel)
    assert found.model_config == model_config
    z = model.encode(batch.obs.pixels[0])
    assert torch.equal(found.model.encode(batch.obs.pixels[0]), z)
    actions = batch.action.transpose(0, 1)
    assert torch.equal(found.model.rollout(z, actions), model.rollout(z, actions))
    z_next = model.encode(batch.obs.pixels[1])
    assert torch.equal(found.model.infer(z, z_next), model.infer(z, z_next))


def test_only_other_kinds_are_given_as_a_sensorimotor_model() -> None:
    checkpoint = tiny_checkpoint()
    assert isinstance(checkpoint.smwm, Smwm)
    with pytest.raises(
        CheckpointError, match='has a model of kind latent_action, expected one of'
    ):
        _ = checkpoint._replace(model=make(), model_config=LATENT).smwm
    for kind in config.KINDS:
        model = make_any(replace(TINY, kind=kind), SIZE, ACTIONS, 2)
        assert isinstance(model, LatentActionModel) == (kind == 'latent_action')


def test_inferred_actions_are_decoded_from_the_code_without_noise() -> None:
    model, batch = make(), window(6)
    z, z_next = (model.encode(pixels) for pixels in batch.obs.pixels)
    code = model.latent_action(model.map_of(z), model.map_of(z_next))
    expected = model.decoder(code.mean, model.state_of(z))
    assert torch.equal(model.train().infer(z, z_next), expected)


@pytest.mark.parametrize('model_config', [LATENT, END_TO_END])
def test_processes_that_share_images_learn_what_one_learns(model_config: config.Model) -> None:
    lam = replace(model_config.latent_action, bottleneck='none')  # draws nothing
    model, batch = make(replace(model_config, latent_action=lam)).train(), window(12, steps=2)
    parts = [
        batch._replace(obs=batch.obs._replace(pixels=batch.obs.pixels[:, half]))
        for half in (slice(6), slice(6, 12))
    ]
    weights = list(model.encoder.parameters())
    one = model.losses(batch)
    whole = torch.autograd.grad(one['forward'], weights) if weights else ()
    gathered = [model.encoder(part.obs.pixels.flatten(0, 1)).flatten(1) for part in parts]
    gathered = [part.unflatten(0, (3, -1)).detach() for part in gathered]
    sums: list[Tensor] = [torch.zeros_like(weight) for weight in weights]
    for rank, part in enumerate(parts):

        def gather(mine: Tensor, rank: int = rank) -> Tensor:
            both = [mine, gathered[1]] if rank == 0 else [gathered[0], mine]
            return torch.cat(both, dim=1)

        terms = model.losses(part, gather)
        for name, term in terms.items():
            assert float(term) == pytest.approx(float(one[name]), rel=1e-3, abs=1e-6), name
        if weights:
            more = torch.autograd.grad(terms['forward'], weights)
            sums = [total + slope for total, slope in zip(sums, more, strict=True)]
    for mine, alone in zip(sums, whole, strict=True):
        assert torch.allclose(mine, alone, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize('bottleneck', config.BOTTLENECKS)
def test_half_precision_trains_every_bottleneck(bottleneck: str) -> None:
    lam = replace(LAM, bottleneck=bottleneck, groups=3, codes=4)
    model = make(replace(LATENT, latent_action=lam))
    trainer = Learner(model, config.Train(steps=9, precision='bf16', lr=1e-3), CPU)
    for step in (1, 2, 3):
        assert all(term.isfinite() for term in trainer.step(step, window()).values())


def test_half_precision_does_not_round_the_maps_of_a_frozen_encoder() -> None:
    model, pixels = make(), window().obs.pixels[0]
    with torch.autocast('cpu', torch.bfloat16):
        rounded = model.encoder(pixels)
    assert torch.equal(rounded, model.encoder(pixels))


def test_images_are_shifted_from_the_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Strength] = []

    def noted(batch: Window, strength: Strength, share: slice) -> Window:
        seen.append(strength)
        return batch

    monkeypatch.setattr(learner, 'augment', noted)
    Learner(make(), config.Train(steps=9), CPU).step(1, window())
    assert seen == [Strength(0.0, 0.0, LAM.shift)]


def test_knobs_that_do_not_fit_are_refused() -> None:
    for knobs, words in (
        ({'patch': 3}, r'latent_action.patch: 3, expected a divisor of the image size, 16 px'),
        ({'patch': 8}, r'latent_action.patch: 8, expected .* at most a quarter'),
        ({'channels': 13}, r'latent_action.channels: 13, expected at most 12, the numbers in a'),
        ({'bottleneck': 'pvq', 'groups': 2}, r'latent_action.width: 3, expected a multiple of'),
    ):
        wrong = replace(LATENT, latent_action=replace(LAM, **knobs))
        with pytest.raises(ConfigError, match=words):
            make_any(wrong, SIZE, ACTIONS)
    assert make_any(replace(LATENT, latent_action=replace(LAM, channels=12)), SIZE, ACTIONS)


def photos(count: int = 60, side: int = 32) -> Tensor:
    """Draw smooth images (n, 3, S, S) of many colours."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(count, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(rough, side, mode='bicubic').clamp(0, 1)
    return (255 * fine).byte()


def test_the_components_of_patches_are_whitened_alike_and_signed() -> None:
    pca, images = PatchPca(6, 4, 2.0), photos()
    pca.fit(images)
    s = pca(images)
    assert s.shape == (60, 6, 8, 8)
    rows = s.transpose(0, 1).flatten(1)
    assert rows.mean(dim=1).abs().max() < 1e-3
    spread = rows.var(dim=1)
    assert float(spread[0]) == pytest.approx(1.0, rel=1e-2)
    assert (spread.diff() <= 1e-6).all(), 'the largest come first'
    covariance = rows.cov() - torch.diag(spread)
    assert covariance.abs().max() < 1e-3


def test_the_basis_does_not_depend_on_the_signs_that_a_machine_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two, eigh = PatchPca(8, 4, 0.0), PatchPca(8, 4, 0.0), torch.linalg.eigh
    one.fit(photos())

    def flipped(matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = eigh(matrix)
        rounding = 1e-14 * torch.randn(vectors.shape, dtype=vectors.dtype)
        return values, -vectors + rounding

    monkeypatch.setattr(torch.linalg, 'eigh', flipped)
    two.fit(photos())
    assert torch.allclose(one.axes, two.axes, atol=1e-6)
    assert (one.axes.abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize('patch', [2, 3, 4, 6, 8])
@pytest.mark.parametrize('blur', [0.0, 0.5, 1.0, 2.5, 9.0])
def test_pooling_divides_the_patch_and_is_no_wider_than_the_blur(patch: int, blur: float) -> None:
    pool = pooling(patch, blur)
    assert patch % pool == 0
    assert pool <= max(blur, 1)
    assert pool <= max(patch // 2, 1)
    pca = PatchPca(3, patch, blur)
    pca.fit(photos(20, 24))
    assert pca(photos(2, 24)).shape == (2, 3, 24 // patch, 24 // patch)


def test_a_blur_reduces_nothing_of_a_constant_image() -> None:
    for blur in (0.0, 1.0, 3.0, 20.0):
        pca = PatchPca(3, 4, blur)
        image = torch.tensor([10, 200, 90], dtype=torch.uint8)[:, None, None].expand(1, 3, 24, 24)
        patches = pca._patches(image).unflatten(1, (3, -1))
        assert torch.allclose(patches.mean(dim=(2, 3)) * 255, torch.tensor([[10.0, 200, 90]]))
        assert patches.std(dim=(2, 3)).max() < 1e-6


def test_a_blur_has_its_standard_deviation() -> None:
    image = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    image[..., 24, 24] = 255
    for blur in (1.0, 3.0):
        pca = PatchPca(3, 4, blur)
        shown = pca._patches(image).view(3, -1, 12, 12)[0]
        fine = torch.nn.functional.fold(
            shown.reshape(1, -1, 144), (48 // pca.pool,) * 2, pca.patch, stride=pca.patch
        )[0, 0]
        places = pca.pool * (torch.arange(len(fine)) + 0.5)
        column = fine.sum(dim=0) / fine.sum()
        mean = (column * places).sum()
        spread = (column * (places - mean).square()).sum().sqrt()
        assert float(spread) == pytest.approx(blur, rel=0.05)


def test_motion_by_a_whole_patch_moves_the_map_by_a_cell() -> None:
    pca, images = PatchPca(6, 4, 1.0), photos()
    pca.fit(images)
    moved = images.roll(4, dims=-1)
    inside = slice(2, -1)  # away from the edges, which are replicated
    one, two = pca(images), pca(moved)
    assert torch.allclose(two[..., inside, 3:-1], one[..., inside, 2:-2], atol=1e-4)
    assert not torch.allclose(two, one, atol=1e-2)
