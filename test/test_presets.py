# SPDX-License-Identifier: Apache-2.0
"""The networks of the paper: every shape, every formula, and what a model with a memory learns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
import math
from pathlib import Path
from typing import Any

from contract import check_world_model
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import ConfigError, TrainingError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import load
from smwm_ros.model.vit import (
    EncoderBlock,
    LATENT,
    Predictor,
    PredictorBlock,
    TokenLinear,
    VisionEncoder,
)
from smwm_ros.model.world_model import Smwm
from smwm_ros.training.train import train
import torch
from torch import nn
from worlds import dot_dataset

ACTIONS = 10
PAPER = config.Model(preset='tiny')
TOY = config.Model(preset='toy', inverse_weight=10.0)

# Shapes of the published checkpoints. Attention and MLP stand once for each of the layers.
PROJECTOR = [(2048, 192), (2048,), (2048,), (2048,), (2048,), (2048,), (), (192, 2048), (192,)]
ENCODER_LAYER = 4 * [(192, 192), (192,)] + 2 * [(192,), (192,)]
ENCODER_LAYER += [(768, 192), (768,), (192, 768), (192,)]
PREDICTOR_LAYER = [(192,), (192,), (3072, 192), (192, 1024), (192,), (192,), (192,)]
PREDICTOR_LAYER += [(2048, 192), (2048,), (192, 2048), (192,), (1152, 192), (1152,)]


def shapes(action_size: int, history: int) -> list[tuple[int, ...]]:
    encoder = [(1, 1, 192), (1, 257, 192), (192, 3, 14, 14), (192,), (192,), (192,)]
    predictor = [(1, history, 192), (192,), (192,)]
    actions = [(10, action_size, 1), (10,), (768, 10), (768,), (192, 768), (192,)]
    inverse = [(256, 384), (256,), (256, 256), (256,), (action_size, 256), (action_size,)]
    found: list[tuple[int, ...]] = encoder + predictor + actions + inverse + 2 * PROJECTOR
    return found + 12 * ENCODER_LAYER + 6 * PREDICTOR_LAYER


def size(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


@pytest.mark.parametrize(
    ('action_size', 'history', 'total'),
    [(10, 1, 18_201_016), (25, 1, 18_205_021), (10, 3, 18_034_478 + 166_922)],
)
def test_tiny_has_every_tensor_of_the_paper(action_size: int, history: int, total: int) -> None:
    model = make_model(replace(PAPER, history=history), 224, action_size)
    found = Counter(tuple(tensor.shape) for tensor in model.state_dict().values())
    assert found == Counter(shapes(action_size, history))
    assert len(model.state_dict()) == 309
    assert size(model) == total


def test_the_parts_have_the_sizes_of_the_paper() -> None:
    tiny = make_model(PAPER, 224, ACTIONS)
    f, g = tiny.encoder, tiny.forward_model
    assert isinstance(f, VisionEncoder)
    assert isinstance(g, Predictor)
    assert size(f) - size(f.projector) == 5_501_376
    assert size(g) - size(g.projector) - size(g.actions) == 10_790_976
    assert size(g.actions) == 156_206
    assert size(f.projector) == size(g.projector) == 792_768
    assert size(tiny.inverse_model) == 166_922
    toy = make_model(TOY, 64, 2)
    parts = (toy.encoder, toy.forward_model, toy.inverse_model)
    assert [size(part) for part in parts] == [224_384, 99_392, 99_330]


def some_batch(count: int = 4, side: int = 32, steps: int = 1) -> Window:
    generator = torch.Generator().manual_seed(1)
    shape = (steps + 1, count, 3, side, side)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    action = torch.randn(steps, count, ACTIONS, generator=generator)
    return Window(Obs(pixels, torch.zeros(steps + 1, count, 0)), action)


def wake(model: Smwm) -> Smwm:
    """Open the gates, which are shut in a fresh model, such that actions do something."""
    for part in model.modules():
        if isinstance(part, PredictorBlock):
            for layer in part.modulation:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=0.05)
    return model


def shallow(model: Smwm) -> Smwm:
    """Keep two layers of twelve and of six, which are as good for a law."""
    encoder, predictor = model.encoder, model.forward_model
    assert isinstance(encoder, VisionEncoder)
    assert isinstance(predictor, Predictor)
    encoder.layers = nn.Sequential(*list(encoder.layers)[:2])
    predictor.layers = predictor.layers[:2]
    return wake(model)


@pytest.mark.parametrize(('preset', 'history'), [('tiny', 1), ('tiny', 3), ('toy', 1)])
def test_a_preset_keeps_the_contract(preset: str, history: int) -> None:
    torch.manual_seed(0)
    model = make_model(config.Model(preset=preset, history=history), 32, ACTIONS)
    model = shallow(model) if preset == 'tiny' else model
    check_world_model(model, some_batch(steps=history))


Weights = Mapping[str, np.ndarray]


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f'{name}.weight'].T + w.get(f'{name}.bias', 0.0)


def norm(x: np.ndarray, eps: float) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def layer_norm(w: Weights, name: str, x: np.ndarray, eps: float) -> np.ndarray:
    return norm(x, eps) * w[f'{name}.weight'] + w[f'{name}.bias']


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, causal: bool) -> np.ndarray:
    tokens, width = q.shape
    found = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        score = q[:, part] @ k[:, part].T / math.sqrt(width // heads)
        if causal:
            score[np.triu_indices(tokens, 1)] = -np.inf
        weight = np.exp(score - score.max(1, keepdims=True))
        found[:, part] = weight / weight.sum(1, keepdims=True) @ v[:, part]
    return found


def float64(part: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in part.state_dict().items()}


def randomise(part: nn.Module) -> nn.Module:
    """Draw everything anew, such that nothing is hidden by a one or a zero."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in part.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise.abs() + 0.5 if name.endswith('running_var') else 0.1 * noise)
    return part.eval().requires_grad_(False)


def projected(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    x = linear(w, f'{name}.0', x) - w[f'{name}.1.running_mean']
    x = x / np.sqrt(w[f'{name}.1.running_var'] + 1e-5)
    return linear(w, f'{name}.3', gelu(x * w[f'{name}.1.weight'] + w[f'{name}.1.bias']))


def test_a_layer_of_the_encoder_equals_a_computation_in_float64() -> None:
    layer = randomise(EncoderBlock())
    w = float64(layer)
    x = torch.randn(1, 5, LATENT, generator=torch.Generator().manual_seed(1))
    expected = x[0].double().numpy()
    normal = layer_norm(w, 'norm_attention', expected, 1e-12)
    q, k, v = (linear(w, name, normal) for name in ('query', 'key', 'value'))
    expected = expected + linear(w, 'out', attend(q, k, v, 3, causal=False))
    normal = layer_norm(w, 'norm_mlp', expected, 1e-12)
    expected = expected + linear(w, 'mlp.2', gelu(linear(w, 'mlp.0', normal)))
    assert layer(x)[0].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize('asked', [None, 1, 2], ids=str)
def test_a_layer_for_tokens_is_a_linear_layer_with_its_gradients(asked: int | None) -> None:
    torch.manual_seed(0)
    layer, tokens = TokenLinear(LATENT, 31), torch.randn(3, 7, LATENT, requires_grad=True)
    x, pull = tokens[:, :asked], torch.randn(3, 7, 31)[:, :asked]
    parts = (tokens, layer.weight, layer.bias)
    exact = [part.detach().double().requires_grad_() for part in parts]
    expected = nn.functional.linear(exact[0][:, :asked], exact[1], exact[2])
    found = layer(x)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert torch.allclose(found.double(), expected, atol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(found, parts, pull),
        torch.autograd.grad(expected, exact, pull.double()),
        strict=True,
    ):
        assert torch.allclose(mine.double(), theirs, atol=1e-4)


def test_the_encoder_equals_a_computation_in_float64() -> None:
    encoder = VisionEncoder(layers=0)
    w = float64(randomise(encoder))
    pixels = torch.randint(0, 256, (1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    colour = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = (pixels[0].double().numpy() / 255 - colour[0][:, None, None]) / colour[1][
        :, None, None
    ]
    blocks = image.reshape(3, 16, 14, 16, 14)
    tokens = np.einsum('ciajb,ocab->ijo', blocks, w['patches.weight']) + w['patches.bias']
    tokens = np.concatenate([w['first'][0], tokens.reshape(256, LATENT)]) + w['position'][0]
    z = projected(w, 'projector', layer_norm(w, 'norm', tokens, 1e-12)[0])
    assert encoder(pixels.byte())[0].numpy() == pytest.approx(z, abs=1e-4)


def test_the_predictor_equals_a_computation_in_float64() -> None:
    predictor = Predictor(ACTIONS, history=3, layers=2)
    w = float64(randomise(predictor))
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(1, 3, LATENT, generator=generator)
    action = torch.randn(1, 3, ACTIONS, generator=generator)
    narrow = action[0].double().numpy() @ w['actions.narrow.weight'][..., 0].T
    narrow = narrow + w['actions.narrow.bias']
    condition = linear(w, 'actions.embed.2', silu(linear(w, 'actions.embed.0', narrow)))
    x = z[0].double().numpy() + w['position'][0]
    for name in ('layers.0', 'layers.1'):
        s1, c1, g1, s2, c2, g2 = np.split(linear(w, f'{name}.modulation.1', silu(condition)), 6, 1)
        seen = layer_norm(w, f'{name}.norm_attention', norm(x, 1e-6) * (1 + c1) + s1, 1e-5)
        q, k, v = np.split(linear(w, f'{name}.qkv', seen), 3, 1)
        x = x + g1 * linear(w, f'{name}.out', attend(q, k, v, 16, causal=True))
        normal = layer_norm(w, f'{name}.mlp.0', norm(x, 1e-6) * (1 + c2) + s2, 1e-5)
        x = x + g2 * linear(w, f'{name}.mlp.4', gelu(linear(w, f'{name}.mlp.1', normal)))
    expected = projected(w, 'projector', layer_norm(w, 'norm', x, 1e-5))
    assert predictor.predict_sequence(z, action)[0].numpy() == pytest.approx(expected, abs=1e-4)


def test_weights_begin_as_in_the_paper() -> None:
    torch.manual_seed(0)
    model = make_model(PAPER, 224, ACTIONS)
    drawn = dict(model.named_parameters())
    for name in ('first', 'position', 'patches.weight', 'layers.3.query.weight'):
        assert drawn[f'encoder.{name}'].std().item() == pytest.approx(0.02, rel=0.15), name
    for name, weight in drawn.items():
        of_encoder = name.startswith('encoder.layers') and name.endswith('bias')
        if 'modulation' in name or of_encoder:
            assert not weight.any(), name
    assert drawn['forward_model.position'].std().item() == pytest.approx(1.0, rel=0.2)
    z, action = torch.randn(2, LATENT), torch.randn(2, ACTIONS)
    model.eval()
    assert torch.equal(model.predict(z, action), model.predict(z, -action)), 'gates are shut'


def remembering(steps: int) -> Smwm:
    torch.manual_seed(0)
    return shallow(make_model(replace(PAPER, history=steps), 224, ACTIONS)).eval()


@torch.inference_mode()
def test_a_memory_sees_the_steps_before_and_never_those_to_come() -> None:
    model = remembering(3)
    predictor = model.forward_model
    assert isinstance(predictor, Predictor)
    z, action = torch.randn(2, 3, LATENT), torch.randn(2, 3, ACTIONS)
    whole = predictor.predict_sequence(z, action)
    for changed in range(3):
        other_z, other_action = z.clone(), action.clone()
        other_z[:, changed] += 1
        other_action[:, changed] += 1
        moved = (predictor.predict_sequence(other_z, other_action) - whole).abs().amax(
            dim=(0, 2)
        ) > 1e-6
        assert moved.tolist() == [step >= changed for step in range(3)]


@torch.inference_mode()
@pytest.mark.parametrize('history', [1, 3])
def test_imagination_goes_on_from_what_is_remembered(history: int) -> None:
    model = remembering(history)
    predictor = model.forward_model
    assert isinstance(predictor, Predictor)
    z, actions = torch.randn(2, 4, LATENT), torch.randn(2, 4, 5, ACTIONS)
    found = model.rollout(z, actions)
    assert found.shape == (2, 4, 5, LATENT)
    known = [z[1, 2]]
    for step in range(5):
        first = max(step + 1 - history, 0)
        seen = torch.stack(known[first:])[None]
        known.append(
            predictor.predict_sequence(seen, actions[1, 2, first : step + 1][None])[0, -1]
        )
    assert torch.allclose(found[1, 2], torch.stack(known[1:]), atol=1e-5)


def test_a_model_with_a_memory_learns_every_step_from_true_frames() -> None:
    model = remembering(3)
    predictor = model.forward_model
    assert isinstance(predictor, Predictor)
    batch = some_batch(steps=3)
    with torch.inference_mode():
        z = torch.stack(model.latents(batch), dim=1)
        errors = predictor.predict_sequence(z[:, :-1], batch.action.transpose(0, 1)) - z[:, 1:]
        found = model.losses(batch)['forward'].item()
    assert found == pytest.approx(errors.square().mean().item(), rel=1e-5)


@pytest.mark.parametrize('model', [replace(PAPER, history=2), TOY], ids=['tiny', 'toy'])
def test_presets_train_and_come_back(model: config.Model, tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=2, length=6)
    settings = config.Train(steps=1, batch=2, device='cpu')
    made = train(dots, tmp_path / 'run', model, settings, config.Planner())
    again = load(tmp_path / 'run')
    assert again.model_config == model
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_memory_and_unrolling_exclude_each_other(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    settings = config.Train(unroll=2, device='cpu')
    with pytest.raises(
        TrainingError,
        match=r'train.unroll: a model of preset tiny with model.history above 1 .* set one',
    ):
        train(dots, tmp_path / 'run', replace(PAPER, history=2), settings, config.Planner())


@pytest.mark.parametrize(
    ('knobs', 'match'),
    [
        ({'preset': 'tiny', 'latent': 64}, 'latent: only preset nano has this knob, not tiny'),
        ({'preset': 'toy', 'hidden': 64}, 'hidden: only preset nano has this knob, not toy'),
    ],
)
def test_a_knob_that_a_preset_has_not_is_refused(knobs: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make_model(config.Model(**knobs), 64, ACTIONS)
