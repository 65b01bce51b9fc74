# SPDX-License-Identifier: Apache-2.0
"""ROS tests: real nodes on a network of their own; skipped visibly where there is no rclpy."""

from importlib.util import find_spec
import os
from pathlib import Path

import pytest

# Test processes that run side by side must not hear each other.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] = str(
    Path(__file__).parents[2] / 'config' / 'fastdds.xml'
)

# To the pilot of the harness, an image is as far from another as their greys are. Near is 4.
DISTANCES = {'ticks': [1, 2, 4, 25], 'median': [2.0, 4.0, 8.0, 50.0]}


class WithoutRos(pytest.Module):
    """A test file that cannot even be imported here."""

    def collect(self):
        """Say why nothing in it runs."""
        pytest.skip('rclpy is not installed', allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """Skip every file of this folder where there is no rclpy."""
    if find_spec('rclpy') is None:
        return WithoutRos.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """Return a folder with a tiny untrained model of a planar robot, and its contents."""
    import numpy as np
    from smwm_ros import config
    from smwm_ros.interfaces import ActionScaler
    from smwm_ros.model.any_model import make_model
    from smwm_ros.model.checkpoint import Checkpoint, save
    import torch

    torch.manual_seed(0)
    robot = config.Robot(
        command=config.Command(
            fields=('twist.linear.x', 'twist.linear.y'), low=(-0.5, -0.4), high=(0.5, 0.4)
        ),
        dt=0.05,
    )
    dataset = config.Dataset(image_size=16, action_block=2)
    model_config = config.Model(latent=8, hidden=16)
    model = make_model(model_config, dataset.image_size, 4)
    planner = config.Planner(samples=16, iterations=2, elites=4)
    scaler = ActionScaler(np.zeros(2), np.full(2, 0.25))
    made = Checkpoint(model, robot, dataset, model_config, planner, scaler)
    folder = tmp_path_factory.mktemp('checkpoint')
    save(folder, made)
    return folder


@pytest.fixture
def measured(checkpoint, tmp_path):
    """Return a checkpoint that knows what near means."""
    import json
    import shutil

    from smwm_ros.model.checkpoint import META

    folder = tmp_path / 'run'
    shutil.copytree(checkpoint, folder)
    meta = json.loads((folder / META).read_text())
    meta['info']['distances'] = DISTANCES
    (folder / META).write_text(json.dumps(meta))
    return folder


@pytest.fixture
def located(measured):
    """Return such a checkpoint with recorded drives: grey is 100 times x, and y is not seen."""
    import numpy as np
    from smwm_ros.planning.drives import RecordedDrives
    from smwm_ros.planning.retrieval import save
    import torch

    rng = np.random.default_rng(0)
    x, y = rng.permutation(np.tile(np.arange(0, 2.5, 0.02), 2)), rng.choice([0.0, 1.0], 250)
    latents = torch.zeros(250, 8)
    latents[:, 0] = torch.from_numpy(100 * x)
    left, states = torch.zeros(250, dtype=torch.int64), torch.from_numpy(np.stack([x, y], axis=1))
    drives = RecordedDrives(latents, torch.zeros(250, 2), left, 2, states=states.float())
    save(measured, drives, {})
    return measured
