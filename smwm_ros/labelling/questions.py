# SPDX-License-Identifier: Apache-2.0
"""
Propose moments whose actions a person should enter: ask.csv, and their frames in ask.png.

Labels help most where they differ. So the moments are spread over the latent actions and over
time, and something clearly happens in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
import csv
import io
from pathlib import Path

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import DatasetError
from smwm_ros.files import require_new, write_together
from smwm_ros.interfaces import Array
from smwm_ros.labelling.contact_sheet import contact_sheet
from smwm_ros.labelling.latent_reading import load_latent_model, read
from smwm_ros.labelling.moments import moments_at
from smwm_ros.lock import hold
from smwm_ros.reporting import NoProgress, ShowProgress

CSV, SHEET = 'ask.csv', 'ask.png'
COLUMNS = ('bag', 'start', 'duration', 'stamp')
CANDIDATES = 4000  # windows that are read
KNOWN = 500  # labelled windows that proposals keep away from
CLEAR = 0.5  # quantile of the content above which a window is proposed
EXTREME = 0.03  # share of the windows with the most unusual latent actions, or the most content


def ask(
    data: TransitionDataset,
    run: Path,
    count: int,
    out: Path,
    units: Mapping[str, str],
    progress: ShowProgress = NoProgress,
) -> int:
    """Write `count` moments to ask.csv and ask.png in a folder; return how many were found."""
    require_new(out / CSV)  # it may hold answers
    _, model = load_latent_model(run, data)
    block = data.info.action_block
    # Training uses no moments between the held-out parts and the others.
    starts = np.concatenate([data.starts(split, unlabelled=True) for split in ('train', 'val')])
    starts.sort()
    certain = data.confidence(starts[:, None] + np.arange(block)) == 1
    known = evenly_spaced(starts[certain.all(axis=1)], KNOWN)
    wanted = evenly_spaced(starts[~certain.any(axis=1)], CANDIDATES)
    if not len(wanted):
        raise DatasetError(
            f'{data.folder}: every transition has recorded or answered actions; there is nothing '
            'to ask'
        )
    with progress(total=len(wanted) + len(known), desc='reading', unit=' windows') as bar:
        found = read(model, data, np.concatenate([wanted, known]), bar.update)
    z, content = found.z.cpu().numpy(), found.content.cpu().numpy()[: len(wanted)]
    chosen = wanted[choose(z[: len(wanted)], content, wanted, count, block, z[len(wanted) :])]
    with hold(out):
        _write(data, chosen, out, units)
    return len(chosen)


def choose(z: Array, content: Array, starts: Array, count: int, block: int, known: Array) -> Array:
    """
    Return the places of up to `count` windows, in order, whose latent actions (n, Z) differ most.

    Each one is the farthest from those chosen before, and from `known` (m, Z). Two of them share
    no frame, and lie at least half an even spacing apart.
    """
    away = np.linalg.norm(z - np.median(z, axis=0), axis=1)
    usual = [values <= np.quantile(values, 1 - EXTREME) for values in (away, content)]
    left = np.flatnonzero((content >= np.quantile(content, CLEAR)) & usual[0] & usual[1])
    rank = np.cumsum(np.isin(np.arange(len(z)), left))
    apart = len(left) // (2 * count)
    nearest = np.full(len(z), np.inf)
    for one in known:
        nearest = np.minimum(nearest, np.linalg.norm(z - one, axis=1))
    chosen: list[int] = []
    while len(left) and len(chosen) < count:
        first = not chosen and not len(known)
        pick = left[(away if first else nearest)[left].argmax()]
        chosen.append(int(pick))
        nearest = np.minimum(nearest, np.linalg.norm(z - z[pick], axis=1))
        near = np.abs(starts[left] - starts[pick]) <= block
        left = left[~near & (np.abs(rank[left] - rank[pick]) >= apart)]
    return np.sort(np.array(chosen, np.int64))


def _write(data: TransitionDataset, starts: Array, out: Path, units: Mapping[str, str]) -> None:
    """Write ask.csv, with a comment for each command field, and ask.png."""
    spec, block = data.info.spec, data.info.action_block
    duration = block * spec.dt
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow([f'# The command of the robot in each moment, constant for {duration:g} s:'])
    for name, low, high in zip(spec.fields, spec.low, spec.high, strict=True):
        table.writerow([f'# {name}: {low:g} to {high:g} {units.get(name, "")}'.rstrip()])
    table.writerow([*COLUMNS, *spec.fields])
    moments = moments_at(data, starts)
    for bag, start, stamp in moments:
        empty = [''] * spec.size
        table.writerow([bag, f'{start:.4f}', f'{duration:g}', stamp, *empty])
    titles = [f'{n}: {bag}, {start:.1f} s' for n, (bag, start, _) in enumerate(moments, start=1)]
    sheet = contact_sheet(titles, data.pixels(starts), data.pixels(starts + block))
    write_together({out / SHEET: sheet, out / CSV: text.getvalue().encode()})
