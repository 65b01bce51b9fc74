# SPDX-License-Identifier: Apache-2.0
"""Run the plan node with a pilot that fails on request of a file that bench/faults.py writes."""

from __future__ import annotations

import os
from pathlib import Path
import sys
import time
from typing import Any

from smwm_ros.interfaces import Array
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.nodes.spin import run_node
from smwm_ros.planning.pilot import Pilot, PilotPlan
import torch

ORDERS = Path(os.environ['SMWM_FAULT'])


class FaultyPilot(Pilot):
    """Plans, or on request hangs, raises, exits, or computes with broken weights."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._weight = next(self._model.parameters()).data
        self._good = self._weight.clone()

    def plan(self, pixels: Array, *words: Any, **named: Any) -> PilotPlan:
        """Carry out the request, then plan."""
        order = ORDERS.read_text()
        while ORDERS.read_text() == 'hang':
            time.sleep(0.002)
        if order == 'raise':
            raise RuntimeError('requested failure')
        if order == 'die':
            raise SystemExit('requested exit')
        self._weight.copy_(self._good * torch.nan if order == 'nan' else self._good)
        return super().plan(pixels, *words, **named)


class FaultyNode(PlanNode):
    """Run the plan node with that pilot."""

    def __init__(self) -> None:
        super().__init__(FaultyPilot)


if __name__ == '__main__':
    sys.exit(run_node(FaultyNode))
