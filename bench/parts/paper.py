# SPDX-License-Identifier: Apache-2.0
"""The number of samples and iterations that the search of the paper uses for a plan."""

from __future__ import annotations

from smwm_ros.evaluation.methods import PAPER_PLANNER

SEARCH = {name: getattr(PAPER_PLANNER, name) for name in ('samples', 'iterations', 'elites')}
PEER = f'{SEARCH["samples"]} samples, {SEARCH["iterations"]} iterations'
