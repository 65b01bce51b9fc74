# SPDX-License-Identifier: Apache-2.0
"""Check whether a model can be loaded and plans in time on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smwm_ros.config import Camera, CV_BRIDGE, Node
from smwm_ros.doctor.findings import Finding, OK, PROBLEM
from smwm_ros.doctor.libraries import BRIDGE, Reports
from smwm_ros.errors import SmwmError
from smwm_ros.text import count_of

QUICK = 0.5  # longest plan that is measured and not only estimated [s]


def check_run(folder: Path, reports: Reports) -> Iterator[Finding]:
    """Load a model, and compare the time of a plan with the control period."""
    if 'version' not in reports['torch']:
        yield Finding('model', PROBLEM, f'{folder}: not loaded, as torch cannot be imported')
        return
    from smwm_ros.control.search_time import SearchTime, small
    from smwm_ros.control.timed_plan import oldest_image
    from smwm_ros.model.checkpoint import load
    from smwm_ros.planning.pilot import Pilot

    try:
        checkpoint = load(folder)
        planner, dt = checkpoint.planner, checkpoint.robot.dt
        reduced = small(planner)
        time = SearchTime(Pilot(checkpoint, reduced).warm_up(), reduced)
        if time.estimate(planner) <= QUICK:
            time = SearchTime(Pilot(checkpoint, planner).warm_up(), planner)
    except SmwmError as error:
        remedy = 'name a run folder of smwm train that is complete'
        yield Finding('model', PROBLEM, str(error), remedy)
        return
    yield Finding('model', OK, f'{folder}: {checkpoint.model_config.kind}, can be loaded')
    yield _check_decoder(checkpoint.robot.camera, reports[BRIDGE])
    seconds = time.estimate(planner)
    what = (
        f'{1e3 * seconds:.0f} ms with planner.samples {planner.samples} and '
        f'{count_of(planner.iterations, "iteration")}; the control period is {1e3 * dt:.0f} ms'
    )
    if warning := time.warning(planner, oldest_image(Node(), dt), dt):
        yield Finding('plan', PROBLEM, what, warning)
    else:
        yield Finding('plan', OK, f'{what}, and the node plans beside it')


def _check_decoder(camera: Camera, report: Mapping[str, Any]) -> Finding:
    """Name what converts the images for a model, and check that it is there."""
    decoder = camera.decoded_by
    if decoder != CV_BRIDGE or CV_BRIDGE in report:
        what = f'images of the training were converted with robot.camera.decoder={decoder}'
        return Finding('decoder', OK, what)
    return Finding(
        'decoder',
        PROBLEM,
        'images of the training were converted by cv_bridge, which cannot be used here',
        report.get('remedy', 'see cv_bridge above'),
    )
