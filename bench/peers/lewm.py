# SPDX-License-Identifier: Apache-2.0
"""
Plan with the solver and the model class of stable-worldmodel, once for every input line.

Runs in an environment of its own, see NEEDS in bench/parts/peer.py: PyPI's torchvision needs the
torch of PyPI, not a CPU build of it. The only argument is a file with weights, images and
settings. Each plan is answered with a line of JSON.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from functools import partial
import json
import sys
import time
from typing import Any

from gymnasium.spaces import Box
from stable_worldmodel.policy import PlanConfig
from stable_worldmodel.solver import CEMSolver
from stable_worldmodel.wm.lewm import LeWM, module
import torch
from torch import nn
from transformers import ViTConfig, ViTModel

WIDTH = 192


def main() -> None:
    """Print a line when ready, then plan once for every input line."""
    torch.set_num_threads(1)
    task = torch.load(sys.argv[1], weights_only=True)
    device, settings = task['device'], task['settings']
    model = lewm(settings['block'] * settings['fields'])
    model.load_state_dict(task['weights'])
    model = model.to(device).eval().requires_grad_(False)
    solver = CEMSolver(
        model,
        num_samples=settings['samples'],
        n_steps=settings['iterations'],
        topk=settings['elites'],
        device=device,
        seed=settings['seed'],
    )
    horizon = settings['horizon']
    solver.configure(
        action_space=Box(-1.0, 1.0, (1, settings['fields'])),
        n_envs=1,
        config=PlanConfig(horizon, horizon, action_block=settings['block']),
    )
    print('{}', flush=True)  # ready
    for _ in sys.stdin:
        solver.torch_gen.manual_seed(settings['seed'])
        begun = now(device)
        with redirect_stdout(sys.stderr):
            plan = solver.solve(
                {name: task[name].to(device) for name in ('pixels', 'goal', 'action')}
            )
        seconds = now(device) - begun
        print(json.dumps({'seconds': seconds, 'mean': plan['actions'][0].tolist()}), flush=True)


def now(device: str) -> float:
    """Return processor time, or the time after a GPU has finished its queue [s]."""
    if device == 'cpu':
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def lewm(action_size: int) -> LeWM:
    """Build the networks of the paper, with a history of one step."""
    encoder = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=224,
        patch_size=14,
    )
    head: Any = partial(module.MLP, WIDTH, 2048, WIDTH, norm_fn=nn.BatchNorm1d, act_fn=nn.GELU)
    predictor = module.Predictor(
        num_frames=1,
        depth=6,
        heads=16,
        mlp_dim=2048,
        input_dim=WIDTH,
        hidden_dim=WIDTH,
        dim_head=64,
    )
    return LeWM(
        ViTModel(encoder, add_pooling_layer=False),
        predictor,
        module.Embedder(input_dim=action_size, emb_dim=WIDTH),
        head(),
        head(),
    )


if __name__ == '__main__':
    main()
