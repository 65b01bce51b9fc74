# SPDX-License-Identifier: Apache-2.0
"""
Models as SMWM and LeWM save them, with weights that anyone can draw again.

official_vectors.json holds what the programs of others returned with these weights: the JEPA class
of SMWM at its first release with transformers 5.12, the LeWM class of stable-worldmodel 0.1.1 with
transformers 4.57. Both were given `draw(name, shape)` for every tensor of their state dict, by its
name in transformers 5, and the inputs below. Of latents every 12th number was kept. The step is
that of SMWM's forward_step in float64 without dropout, with a weight of 0.1 for the inverse loss,
clipped to a norm of 1, and torch's AdamW with lr 1e-4 and weight decay 1e-3; it holds, for each
tensor, the norm of its clipped gradient, and gradient and change summed with the signs of `signs`.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
import yaml

VECTORS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name('official_vectors.json').read_text()
)
ACTIONS = 10  # K*A

CONFIG_YAML = {
    'encoder_scale': 'tiny',
    'patch_size': 14,
    'img_size': 224,
    'wm': {'history_size': 1, 'num_preds': 1, 'embed_dim': 192, 'action_dim': 2},
    'predictor': {'depth': 6, 'heads': 16, 'mlp_dim': 2048, 'dim_head': 64, 'dropout': 0.1},
    'inverse': {'hidden_dim': 256},
    'loss': {'sigreg': {'weight': 0.0}, 'inverse': {'weight': 0.1}},
    'data': {'dataset': {'frameskip': 5, 'num_steps': 2, 'cache_dir': '${oc.env:DATA}'}},
}
CONFIG_JSON = {
    '_target_': 'stable_worldmodel.wm.lewm.LeWM',
    'encoder': {'size': 'tiny', 'patch_size': 14, 'image_size': 224, 'pretrained': False},
    'predictor': {'num_frames': 3, 'depth': 6, 'heads': 16, 'mlp_dim': 2048, 'dim_head': 64},
    'action_encoder': {'input_dim': ACTIONS, 'emb_dim': 192},
}
ENCODER_LAYER = {
    **{f'attention.{letter}_proj': (192, 192) for letter in 'qkvo'},
    'mlp.fc1': (768, 192),
    'mlp.fc2': (192, 768),
    'layernorm_before': (192,),
    'layernorm_after': (192,),
}
PREDICTOR_LAYER = {
    'attn.norm': (192,),
    'attn.to_out.0': (192, 1024),
    'mlp.net.0': (192,),
    'mlp.net.1': (2048, 192),
    'mlp.net.4': (192, 2048),
    'adaLN_modulation.1': (1152, 192),
}
VERSION_4 = (  # of transformers, by the names of version 5
    ('encoder.layers.', 'encoder.encoder.layer.'),
    ('attention.q_proj', 'attention.attention.query'),
    ('attention.k_proj', 'attention.attention.key'),
    ('attention.v_proj', 'attention.attention.value'),
    ('attention.o_proj', 'attention.output.dense'),
    ('mlp.fc1', 'intermediate.dense'),
    ('mlp.fc2', 'output.dense'),
)


def shapes(history: int) -> dict[str, tuple[int, ...]]:
    """Return every tensor of a model of SMWM by its name."""
    layers = dict[str, tuple[int, ...]]()
    layers |= {'encoder.layernorm': (192,), 'predictor.transformer.norm': (192,)}
    layers['encoder.embeddings.patch_embeddings.projection'] = (192, 3, 14, 14)
    for number in range(12):
        layers |= {f'encoder.layers.{number}.{name}': x for name, x in ENCODER_LAYER.items()}
    for number in range(6):
        at = f'predictor.transformer.layers.{number}'
        layers |= {f'{at}.{name}': shape for name, shape in PREDICTOR_LAYER.items()}
    layers |= {'action_encoder.patch_embed': (10, ACTIONS, 1), 'action_encoder.embed.0': (768, 10)}
    layers['action_encoder.embed.2'] = (192, 768)
    layers |= {'inverse_model.net.0': (256, 384), 'inverse_model.net.2': (256, 256)}
    layers['inverse_model.net.4'] = (ACTIONS, 256)
    found: dict[str, tuple[int, ...]] = {
        'encoder.embeddings.cls_token': (1, 1, 192),
        'encoder.embeddings.position_embeddings': (1, 257, 192),
        'predictor.pos_embedding': (1, history, 192),
    }
    for head in ('projector', 'pred_proj'):
        layers |= {f'{head}.net.0': (2048, 192), f'{head}.net.1': (2048,)}
        layers[f'{head}.net.3'] = (192, 2048)
        found |= {f'{head}.net.1.running_{name}': (2048,) for name in ('mean', 'var')}
        found[f'{head}.net.1.num_batches_tracked'] = ()
    for name, shape in layers.items():
        found |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
    for number in range(6):  # which has no bias
        found[f'predictor.transformer.layers.{number}.attn.to_qkv.weight'] = (3072, 192)
    return found


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw a tensor by its name, from the generator of numpy that never changes."""
    if name.endswith('num_batches_tracked'):
        return torch.tensor(7)
    x = np.random.RandomState(crc32(name.encode())).random_sample(shape) - 0.5
    if name.endswith('running_var'):
        x += 1
    elif len(shape) == 1:
        x = 0.2 * x + (1 if name.endswith('weight') else 0)
    elif len(shape) == 3 and shape[0] == 1:
        x *= 2
    else:
        x *= 3 / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float32))


def state_dict(history: int = 1) -> dict[str, Tensor]:
    """Return the weights of a model of SMWM."""
    return {name: draw(name, shape) for name, shape in shapes(history).items()}


def version_4(name: str) -> str:
    """Return the name of a tensor with transformers 4."""
    if name.startswith('encoder.layers.'):
        for now, before in VERSION_4:
            name = name.replace(now, before)
    return name


def write_smwm(
    folder: Path, history: int = 1, rename: Callable[[str], str] = 'model.{}'.format
) -> Path:
    """Write a run folder as SMWM leaves it."""
    config = {**CONFIG_YAML, 'wm': {**CONFIG_YAML['wm'], 'history_size': history}}  # type: ignore[dict-item]
    (folder / 'checkpoints').mkdir(parents=True)
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    tensors = {rename(name): tensor for name, tensor in state_dict(history).items()}
    beside = {'epoch': 9, 'optimizer_states': [], 'hyper_parameters': {'working_dir': 'x'}}
    saved = {**beside, 'state_dict': {**tensors, 'sigreg.t': torch.zeros(17)}}
    torch.save(saved, folder / 'checkpoints' / 'last.ckpt')
    torch.save({'emb': torch.zeros(2, 192)}, folder / 'final_embeddings.pt')
    return folder


def write_lewm(folder: Path) -> Path:
    """Write a folder as LeWM is published."""
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(CONFIG_JSON))
    tensors = {version_4(name): tensor for name, tensor in state_dict(history=3).items()}
    kept = {name: x for name, x in tensors.items() if not name.startswith('inverse_model')}
    torch.save(kept, folder / 'weights.pt')
    return folder


def pixels(seed: int, *shape: int) -> Tensor:
    """Draw images."""
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8))


def numbers(seed: int, *shape: int) -> Tensor:
    """Draw latents or actions in -2..2."""
    x = 4 * np.random.RandomState(seed).random_sample(shape) - 2
    return torch.from_numpy(x.astype(np.float32))


def signs(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a sign for each number of a tensor."""
    rng = np.random.RandomState(crc32(name.encode()) + 1)
    return np.where(rng.random_sample(shape) < 0.5, -1.0, 1.0)
