# SPDX-License-Identifier: Apache-2.0
"""Hide the recorded actions of a dataset, all but those of a few moments."""

from __future__ import annotations

import json
from pathlib import Path
import shutil

import numpy as np
from smwm_ros.data.dataset import INDEX, TransitionDataset
from smwm_ros.data.shards import META


def hide(data: TransitionDataset, folder: Path, moments: int, seed: int) -> TransitionDataset:
    """Copy a dataset, and make all actions unknown but those of `moments` transitions."""
    if not (folder / INDEX).is_file():
        block, rng = data.info.action_block, np.random.default_rng([seed, moments])
        starts = rng.choice(data.starts('all')[::block], moments, replace=False)
        kept = np.zeros(len(data), bool)
        kept[(starts[:, None] + np.arange(block)).ravel()] = True
        first = 0
        for name, meta in data.metas.items():
            source, target = (at / 'shards' / name for at in (data.folder, folder))
            shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
            actions = np.load(source / 'action.npy')
            rows = slice(first, first + len(actions))
            first = rows.stop
            data_at = (source / 'action.npy').stat().st_size - actions.nbytes
            actions[~kept[rows]] = np.nan
            header = (source / 'action.npy').read_bytes()[:data_at]
            (target / 'action.npy').unlink()
            (target / 'action.npy').write_bytes(header + actions.tobytes())
            (target / META).unlink()
            hashes = {**meta['hashes'], 'action': f'{moments} moments of seed {seed}'}
            (target / META).write_text(json.dumps({**meta, 'hashes': hashes}))
        shutil.copy(data.folder / INDEX, folder / INDEX)
    return TransitionDataset.open(folder, certain=True)


def _link(source: str, target: str) -> None:
    """Link a file that is not changed: frames are large."""
    Path(target).unlink(missing_ok=True)
    Path(target).hardlink_to(source)
