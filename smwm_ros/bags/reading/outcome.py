# SPDX-License-Identifier: Apache-2.0
"""
The task of an episode and its outcome, which a recorder stores in custom_data of metadata.yaml.

custom_data holds texts by name. Other recorders store the task under a name of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.bags.reading.find import Bag, METADATA
from smwm_ros.config import FAILURE, SUCCESS
from smwm_ros.errors import BagError, ConfigError
from smwm_ros.files import write_atomic
from smwm_ros.load import read_yaml
from smwm_ros.text import brief
import yaml

_INFO, _CUSTOM = 'rosbag2_bagfile_information', 'custom_data'
TASK, OUTCOME = 'task', 'outcome'
_TASKS = (TASK, 'lerobot.operator_prompt')  # the second one is that of rosetta
_OUTCOMES = (OUTCOME, 'success')
_WORDS = {'true': SUCCESS, 'success': SUCCESS, 'succeeded': SUCCESS, '1': SUCCESS}
_WORDS |= {'false': FAILURE, 'failure': FAILURE, 'failed': FAILURE, '0': FAILURE}
_LONGEST = 1000  # characters of a task


class TaskOutcome(NamedTuple):
    """What an episode was about, and how it ended; '' where it is not known."""

    task: str = ''
    outcome: str = ''  # 'success' or 'failure'
    flaw: str = ''  # of what is stored


def read_outcome(bag: Bag) -> TaskOutcome:
    """Return the task and the outcome that a bag stores; of a damaged bag nothing."""
    path = bag.paths[0] / METADATA
    if not path.is_file():
        return TaskOutcome()
    try:
        custom = _custom(read_yaml(path))
    except ConfigError:  # who reads the messages reports it
        return TaskOutcome()
    task = next((str(custom[name]) for name in _TASKS if custom.get(name)), '')
    found = next((custom[name] for name in _OUTCOMES if custom.get(name) not in (None, '')), '')
    outcome = _WORDS.get(str(found).strip().lower(), '')
    flaw = ''
    if not outcome and found != '':
        flaw = f'{METADATA}: {_CUSTOM}: outcome {brief(found)}, expected {SUCCESS} or {FAILURE}'
    return TaskOutcome(' '.join(task.split())[:_LONGEST], outcome, flaw)


def write_outcome(folder: Path, task: str, outcome: str) -> None:
    """Store task and outcome in a bag; '' removes one; what else is stored there stays."""
    path = folder / METADATA
    try:
        data = read_yaml(path)
        custom = _custom(data)
    except ConfigError as error:
        raise BagError(str(error)) from error
    if not isinstance(data.get(_INFO), dict):
        raise BagError(f'{path}: has no {_INFO}; it is not that of a rosbag2')
    others = {name: value for name, value in custom.items() if name not in (TASK, OUTCOME)}
    wanted = {TASK: task, OUTCOME: outcome}
    others |= {name: text for name, text in wanted.items() if text}
    data[_INFO][_CUSTOM] = others
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_atomic(path, text.encode())


def _custom(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return custom_data of a metadata.yaml; empty if there is none."""
    info = data.get(_INFO)
    custom = info.get(_CUSTOM) if isinstance(info, dict) else None
    return custom if isinstance(custom, dict) else {}
