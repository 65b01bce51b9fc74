# SPDX-License-Identifier: Apache-2.0
"""
What cv_bridge makes of messages; run by a Python that has it: cv_bridge_peer.py SOURCE TARGET.

SOURCE has messages, and TARGET receives the pixels of each, or the error, by three ways: cv_bridge
alone, cv_bridge as this package calls it, and the decoder of this package.
"""

from __future__ import annotations

from importlib.metadata import version
import json
import sys
from types import SimpleNamespace
from typing import Any

from cv_bridge import CvBridge
import numpy as np
from numpy.typing import NDArray
from smwm_ros.codec.images import to_rgb

Pixels = NDArray[Any]


def alone(msg: Any) -> Pixels:
    """Convert a message as the documentation of cv_bridge says."""
    if hasattr(msg, 'format'):
        return np.asarray(CvBridge().compressed_imgmsg_to_cv2(msg, 'rgb8'))
    return np.asarray(CvBridge().imgmsg_to_cv2(msg, 'rgb8'))


WAYS = {
    'alone': alone,
    'bridge': lambda msg: to_rgb(msg, 'cv_bridge'),
    'own': lambda msg: to_rgb(msg, 'own'),
}


def main(source: str, target: str) -> None:
    """Convert all messages by each way."""
    found: dict[str, Any] = {'version': version('cv_bridge')}
    with np.load(source) as file:
        for number, head in enumerate(json.loads(str(file['heads']))):
            msg = SimpleNamespace(**head, data=file[f'data{number}'])
            for way, convert in WAYS.items():
                try:
                    found[f'{way}{number}'] = convert(msg)
                except Exception as error:  # what it raises is compared
                    found[f'{way}{number}'] = f'{type(error).__name__}: {error}'
    np.savez(target, **found)


if __name__ == '__main__':
    main(*sys.argv[1:])
