# SPDX-License-Identifier: Apache-2.0
"""The acceptance tests of a latent-action model, by short names."""

from __future__ import annotations

import math

from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.latent_report import judge_latent_actions
from smwm_ros.interfaces import Arena
from smwm_ros.model.checkpoint import Checkpoint
import torch

TESTS = {
    'error': 'error with z over that without',
    'cut': 'scene cut: error ratio',
    'leak': 'scene cut: leak',
    'cycle': 'cycle A, B, A: error ratio',
    'transfer': 'transfer of motion, R2',
    'probe': 'probe of commanded motion, R2',
    'probe_other': 'probe of other motion, R2',
    'drift': 'drift with the z of a still image',
    'controlled': 'motion by the controller, R2',
    'controller': 'controller, R2',
    'decoder': 'decoder, R2',
    'perplexity': 'code book perplexity',
}


def acceptance_tests(
    run: Checkpoint, data: TransitionDataset, arena: Arena | None = None
) -> dict[str, float]:
    """Return the figures that could be measured."""
    found = judge_latent_actions(run, data, torch.device('cpu'), arena).tests
    figures = {test.name: test.figure for test in found}
    return {name: figures[test] for name, test in TESTS.items() if not math.isnan(figures[test])}
