# SPDX-License-Identifier: Apache-2.0
"""
Turn bags into a dataset: one shard for each bag, in parallel, and again from where it stopped.

A shard appears when it is whole, so whatever is found there can be kept if it was made from the
same recording by the same configuration; nothing else remembers how far a conversion came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
import shutil
from typing import Any, NamedTuple

from smwm_ros.bags.converting.align import SILENT
from smwm_ros.bags.converting.pool import run, Tally, Work
from smwm_ros.bags.reading.commands import after_hold
from smwm_ros.bags.reading.find import Bag, find_bags
from smwm_ros.config import Config
from smwm_ros.data.dataset import explain, INDEX, TransitionDataset, write_index
from smwm_ros.data.shards import META, read_meta
from smwm_ros.data.stored import differences
from smwm_ros.errors import BagError, DatasetError
from smwm_ros.load import to_dict
from smwm_ros.lock import hold
from smwm_ros.reporting import NoProgress, ShowProgress

_NAMED = 3  # bags named in an error


class Summary(NamedTuple):
    """What a conversion made."""

    dataset: TransitionDataset
    converted: int  # bags
    kept: int  # bags whose shard was there already
    skipped: dict[str, BagError]  # bags that cannot be converted


def convert(
    paths: Iterable[Path],
    out: Path,
    config: Config,
    jobs: int | None = None,
    fresh: bool = False,
    runner: str = 'local',
    skip: bool = False,
    msgs: Iterable[Path] = (),
    progress: ShowProgress = NoProgress,
) -> Summary:
    """
    Make or complete the dataset in a folder from bags.

    Jobs are as many as pay, unless given. With skip, bags that cannot be converted are left out.
    Folders of .msg files define the messages that bags do not.
    """
    bags = find_bags(paths, msgs)
    with hold(out), _no_empty_folder(out / 'shards'):
        if fresh:
            clear(out)
        check_config(out, config)
        work = [plan(bag, out, config) for bag in bags]
        todo = [item for item in work if not is_done(item)]
        _sweep(out)
        tally = Tally(patient=skip or len(todo) < len(work))
        run(todo, jobs, runner, tally, progress)
        # In the order of the bags, not in that of the processes that were done first.
        failed = {bag.name: tally.failed[bag.name] for bag in bags if bag.name in tally.failed}
        if failed and (not skip or len(failed) == len(work)):
            raise _failure(list(failed.values()), len(work), tally.hopeless)
        data = _finish(out, config)
        return Summary(data, len(todo) - len(failed), len(work) - len(todo), failed)


def _failure(errors: Sequence[BagError], count: int, hopeless: bool) -> BagError:
    """Return one error for all bags, of so many, that cannot be converted."""
    if count == 1:
        return errors[0]
    words = '; '.join(map(str, errors[:_NAMED]))
    if hopeless:
        return BagError(f'the first {len(errors)} of {count} bags cannot be converted: {words}')
    if len(errors) > _NAMED:
        words += f'; and {len(errors) - _NAMED} more'
    if len(errors) < count:
        words += '; with --skip the dataset is made without them'
    return BagError(f'{len(errors)} of {count} bags cannot be converted: {words}')


def _finish(out: Path, config: Config) -> TransitionDataset:
    """Make a dataset of the shards that are there."""
    shards = _shards(out)
    metas = {name: read_meta(out / 'shards' / name) for name in shards}
    block = config.dataset.action_block
    spans = [span for meta in metas.values() for span in meta['episodes']]
    if not any(stop - start > block for start, stop in spans):
        clear(out)
        raise DatasetError(
            f'{out}: no transitions; {explain(metas.values())}{_hint(metas, config)}'
        )
    sources = {name: meta['source'] for name, meta in metas.items()}
    settings = _settings(config)
    write_index(out, settings['robot'], settings['dataset'], shards, {'sources': sources})
    return TransitionDataset.open(out)


def plan(bag: Bag, out: Path, config: Config) -> Work:
    """Say where the shard of a bag goes, and what it is made from."""
    source = {
        'files': [path.name for path in bag.files()],
        'bytes': bag.size(),
        'fingerprint': bag.fingerprint(),
    }
    about = {'source': source, **_settings(config)}
    return Work(bag, out / 'shards' / bag.name, config, about)


def is_done(work: Work) -> bool:
    """Tell whether the shard is there; another recording of the same name is an error."""
    if not work.folder.is_dir():
        return False
    found = read_meta(work.folder)['source']
    if found != work.about['source']:
        raise DatasetError(
            f"{work.folder}: made from another recording that is also called '{work.bag.name}'; "
            f'rename the bag to add it, or start over with --fresh'
        )
    return True


def check_config(out: Path, config: Config) -> None:
    """Refuse a folder that holds something else, or shards of another configuration."""
    strangers = [item.name for item in out.iterdir() if not item.name.startswith('.')]
    if not (out / 'shards').is_dir() and strangers:
        raise DatasetError(f'{out}: holds something else ({strangers[0]}); choose another --out')
    wanted, defaults = _settings(config), _settings(Config())
    for name in _shards(out):
        meta = read_meta(out / 'shards' / name)
        found = {section: meta.get(section, {}) for section in wanted}
        if differing := differences(found, wanted, defaults):
            words = [f'{key} (there {there})' for key, (there, _) in differing.items()]
            raise DatasetError(
                f'{out}: holds a dataset of another configuration: {", ".join(words)}; '
                f'choose another --out, or start over with --fresh'
            )


def clear(out: Path) -> None:
    """Remove a dataset, and nothing that is none."""
    if out.is_dir():
        (out / INDEX).unlink(missing_ok=True)
        for name in _shards(out):
            shutil.rmtree(out / 'shards' / name)
        _sweep(out)
        with suppress(OSError):  # it holds something else, or is not there
            (out / 'shards').rmdir()


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Remove a folder that was made for nothing."""
    try:
        yield
    finally:
        with suppress(OSError):  # it holds something, or was never made
            folder.rmdir()


def _sweep(out: Path) -> None:
    """Remove what an interrupted conversion left half-written."""
    for path in (out / 'shards').glob('.*.tmp'):
        shutil.rmtree(path, ignore_errors=True)
    for path in out.glob('.*.tmp'):
        path.unlink()


def _shards(out: Path) -> list[str]:
    """Return the names of the whole shards."""
    found: Iterable[Path] = (out / 'shards').glob('*/' + META)
    return sorted(path.parent.name for path in found if not path.parent.name.startswith('.'))


def _settings(config: Config) -> dict[str, Any]:
    """Return the sections of the configuration that a dataset depends on."""
    return {'robot': to_dict(config.robot), 'dataset': to_dict(config.dataset)}


def _hint(metas: Mapping[str, Mapping[str, Any]], config: Config) -> str:
    """Say what may help when nothing was kept."""
    apart = max((meta.get('frame_period', 0.0) for meta in metas.values()), default=0.0)
    words = f'; frames are {apart:.3g} s apart' if apart else ''
    oldest = config.dataset.max_frame_age
    if apart > oldest:
        words += f', which dataset.max_frame_age={oldest:g} takes for gaps'
    if any(meta['dropped'].get(SILENT) for meta in metas.values()):
        words += f'; {after_hold(config.robot.command.stop)}'
    return words
