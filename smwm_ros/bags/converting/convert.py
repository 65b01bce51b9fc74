# SPDX-License-Identifier: Apache-2.0
"""
Convert bags to a dataset: one shard for each bag, in parallel, resumable.

A shard is renamed into place when it is complete. So a shard that exists is kept if it was made
from the same bag with the same configuration; there is no other record of the progress.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import compress
from pathlib import Path
import shutil
from typing import Any, NamedTuple

from smwm_ros.bags.converting.align import NO_COMMAND
from smwm_ros.bags.converting.pool import BagTask, Results, run
from smwm_ros.bags.reading.commands import hold_advice
from smwm_ros.bags.reading.find import Bag, find_bags
from smwm_ros.bags.reading.outcome import read_outcome
from smwm_ros.codec.bridge import check_decoder
from smwm_ros.config import Config
from smwm_ros.data.dataset import INDEX, TransitionDataset, write_index
from smwm_ros.data.rows import DATASET
from smwm_ros.data.shards import explain, META, read_meta, write_json
from smwm_ros.data.stored import differences, read_json
from smwm_ros.errors import BagError, DatasetError
from smwm_ros.load import to_dict
from smwm_ros.lock import hold
from smwm_ros.reporting import NoProgress, ShowProgress

_MAX_NAMED = 3  # bags named in an error
_NOTED = ('task', 'outcome')  # of a bag, by its recorder; they may change


class Summary(NamedTuple):
    """The result of a conversion."""

    dataset: TransitionDataset
    converted: int  # bags
    kept: int  # bags whose shard existed already
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
    Make the dataset in a folder from bags, or add bags to it.

    jobs: number of processes, by the amount of data if None; skip: leave out bags that cannot be
    converted; msgs: folders of .msg files for messages that bags do not define.
    """
    check_decoder(config.robot.camera.decoder)
    bags = find_bags(paths, msgs)
    with hold(out), _remove_if_empty(out / 'shards'):
        if fresh:
            clear(out)
        check_config(out, config)
        tasks = [plan_task(bag, out, config) for bag in bags]
        done = [is_done(item) for item in tasks]
        for task in compress(tasks, done):
            _update_outcome(task)
        todo = [item for item, is_there in zip(tasks, done, strict=True) if not is_there]
        _remove_temporary(out)
        results = Results(keep_going=skip or len(todo) < len(tasks))
        run(todo, jobs, runner, results, progress)
        # In the order of the bags, not in the order in which processes finished.
        failed = {bag.name: results.failed[bag.name] for bag in bags if bag.name in results.failed}
        if failed and (not skip or len(failed) == len(tasks)):
            raise _failure(list(failed.values()), len(tasks), results.should_stop)
        data = _finish(out, config)
        return Summary(data, len(todo) - len(failed), len(tasks) - len(todo), failed)


def _failure(errors: Sequence[BagError], count: int, should_stop: bool) -> BagError:
    """Return one error for all bags that cannot be converted, out of `count`."""
    if count == 1:
        return errors[0]
    words = '; '.join(map(str, errors[:_MAX_NAMED]))
    if should_stop:
        return BagError(
            f'stopped, the first {len(errors)} of {count} bags cannot be converted: {words}'
        )
    if len(errors) > _MAX_NAMED:
        words += f'; and {len(errors) - _MAX_NAMED} more'
    if len(errors) < count:
        words += '; use --skip to make the dataset without them'
    return BagError(f'{len(errors)} of {count} bags cannot be converted: {words}')


def _finish(out: Path, config: Config) -> TransitionDataset:
    """Make a dataset of the existing shards."""
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


def plan_task(bag: Bag, out: Path, config: Config) -> BagTask:
    """Return the task of converting a bag: the folder of its shard, and its source."""
    source = {
        'files': [path.name for path in bag.files()],
        'bytes': bag.size(),
        'fingerprint': bag.fingerprint(),
    }
    about = {'source': source, **_about_task(bag), **_settings(config)}
    return BagTask(bag, out / 'shards' / bag.name, config, about)


def is_done(task: BagTask) -> bool:
    """Return whether the shard exists; raise if it was made from another bag of this name."""
    if not task.folder.is_dir():
        return False
    found = read_meta(task.folder)['source']
    if found != task.about['source']:
        raise DatasetError(
            f"{task.folder}: made from another bag with the same name '{task.bag.name}', or the "
            'bag has changed; rename the bag to add it, or start over with --fresh'
        )
    return True


def _about_task(bag: Bag) -> dict[str, str]:
    """Return the task and the outcome of a bag, as far as it stores them."""
    found = read_outcome(bag)
    return {name: text for name, text in found._asdict().items() if name in _NOTED and text}


def _update_outcome(task: BagTask) -> None:
    """Store another outcome or task in an existing shard, because it was changed in the bag."""
    path = task.folder / META
    meta = read_json(path, DATASET)
    found = {name: meta.get(name, '') for name in _NOTED}
    if found != (now := {name: task.about.get(name, '') for name in _NOTED}):
        kept = {name: value for name, value in meta.items() if name not in _NOTED}
        write_json(path, {**kept, **{name: text for name, text in now.items() if text}})


def check_config(out: Path, config: Config) -> None:
    """Require a folder that is empty or has a dataset with the same configuration."""
    others = [item.name for item in out.iterdir() if not item.name.startswith('.')]
    if not (out / 'shards').is_dir() and others:
        raise DatasetError(
            f'{out}: not a dataset, it contains {others[0]}; choose another folder for --out'
        )
    wanted, defaults = _settings(config), _settings(Config())
    for name in _shards(out):
        meta = read_meta(out / 'shards' / name)
        found = {section: meta.get(section, {}) for section in wanted}
        if differing := differences(found, wanted, defaults):
            words = [f'{key}={there} (now {here})' for key, (there, here) in differing.items()]
            raise DatasetError(
                f'{out}: contains a dataset with another configuration: {", ".join(words)}; '
                f'choose another --out, or start over with --fresh'
            )


def clear(out: Path) -> None:
    """Remove a dataset, and no other files."""
    if out.is_dir():
        (out / INDEX).unlink(missing_ok=True)
        for name in _shards(out):
            shutil.rmtree(out / 'shards' / name)
        _remove_temporary(out)
        with suppress(OSError):  # it is not empty, or does not exist
            (out / 'shards').rmdir()


@contextmanager
def _remove_if_empty(folder: Path) -> Iterator[None]:
    """Remove a folder at the end if it is empty."""
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty, or does not exist
            folder.rmdir()


def _remove_temporary(out: Path) -> None:
    """Remove the temporary files of an interrupted conversion."""
    for path in (out / 'shards').glob('.*.tmp'):
        shutil.rmtree(path, ignore_errors=True)
    for path in out.glob('.*.tmp'):
        path.unlink()


def _shards(out: Path) -> list[str]:
    """Return the names of the complete shards."""
    found: Iterable[Path] = (out / 'shards').glob('*/' + META)
    return sorted(path.parent.name for path in found if not path.parent.name.startswith('.'))


def _settings(config: Config) -> dict[str, Any]:
    """Return the sections of the configuration that determine a dataset."""
    return {'robot': to_dict(config.robot), 'dataset': to_dict(config.dataset)}


def _hint(metas: Mapping[str, Mapping[str, Any]], config: Config) -> str:
    """Return advice if no tick was kept."""
    apart = max((meta.get('frame_period', 0.0) for meta in metas.values()), default=0.0)
    words = f'; frames are {apart:.3g} s apart' if apart else ''
    oldest = config.dataset.max_frame_age
    if apart > oldest:
        words += f', more than dataset.max_frame_age={oldest:g} s: set a larger value'
    if any(meta['dropped'].get(NO_COMMAND) for meta in metas.values()):
        words += f'; {hold_advice(config.robot.command.stop)}'
    return words
