# SPDX-License-Identifier: Apache-2.0
"""
Damage recordings at random, convert them, and check the result.

`python test/mutated.py --count 500` tries many. It exits with 1 if a bag gives anything but one
line, or takes too long or too much memory.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
import random
import re
import resource
import signal
import sqlite3
import sys
import tempfile
import traceback
from types import FrameType

from recordings import TinyBag
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.survey.survey import survey
from smwm_ros.errors import SmwmError
from smwm_ros.load import load_config

LIMIT = 30  # on one bag [s]; all are of some 40 kB
LARGE = 1 << 30  # limit of memory [bytes]
SUFFIX = {'mcap': '.mcap', 'sqlite3': '.db3'}
NUMBERS = [0, 1, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
VALUES = ["'text'", 'NULL', '-1', '0', '9223372036854775807', '-9223372036854775808', '1e308']
VALUES += ["x'00'", 'zeroblob(100000)', "'2024-01-01'", '0.5']
COLUMNS = [('messages', 'timestamp'), ('messages', 'data'), ('messages', 'topic_id')]
COLUMNS += [('topics', 'name'), ('topics', 'type'), ('topics', 'serialization_format')]
COLUMNS += [('topics', 'offered_qos_profiles'), ('message_definitions', 'topic_type')]
COLUMNS += [('message_definitions', 'encoded_message_definition')]


class TooLongError(BaseException):
    """A bag took too long; no Exception, so that no handler of damaged bags catches it."""


def whole(folder: Path, storage: str, packed: bool) -> bytes:
    """Return the bytes of a sound recording."""
    how = (CompressionMode.STORAGE, CompressionFormat.ZSTD) if packed else None
    bag = TinyBag(folder / f'{storage}{packed}', StoragePlugin[storage.upper()], how)
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick)
        bag.pose(tick, tick)
    (path,) = bag.close().glob(f'*{SUFFIX[storage]}')
    return path.read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage some bytes."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        if not found:
            break
        at = rng.randrange(len(found))
        if rng.random() < 0.3:  # headers and indices, which are rarely hit at random
            at = rng.choice([rng.randrange(min(600, len(found))), max(len(found) - at % 900, 0)])
        size = min(rng.choice([1, 2, 4, 8, 50, 1000]), len(found) - at)
        kind = rng.randrange(6)
        if kind == 0:
            found[at : at + size] = rng.randbytes(size)
        elif kind == 1:
            width = rng.choice([2, 4, 8])
            number = rng.choice(NUMBERS) % 256**width
            found[at : at + width] = number.to_bytes(width, rng.choice(['little', 'big']))
        elif kind == 2:
            del found[at : at + size]
        elif kind == 3:
            found[at:at] = found[max(at - size, 0) : at]
        elif kind == 4 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.2:
            del found[at:]
    return bytes(found)


def spoil_tables(path: Path, rng: random.Random) -> None:
    """Write values into a sqlite file that sqlite accepts but no recorder writes."""
    with suppress(sqlite3.Error):
        db = sqlite3.connect(path)
        for _ in range(rng.choice([1, 1, 3])):
            table, column = rng.choice(COLUMNS)
            some = rng.choice(['', f'WHERE rowid % {rng.randint(2, 40)} = 0'])
            db.execute(f'UPDATE {table} SET {column} = {rng.choice(VALUES)} {some}')
        db.commit()
        db.close()


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TooLongError in a block that takes too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(work: Callable[[], object]) -> str:
    """Run work on a bag; return the outcome in words."""
    try:
        with limited(LIMIT):
            work()
    except SmwmError as error:
        return 'refused' if '\n' not in str(error) and len(str(error)) < 5000 else f'text {error}'
    except TooLongError:
        return f'too long: {traceback.format_exc()}'
    except Exception:
        return f'traceback: {traceback.format_exc()}'
    return 'fine'


def attack(storage: str, count: int, seed: int, folder: Path) -> Counter[str]:
    """Convert and survey so many damaged bags; count the outcomes."""
    rng, found = random.Random(f'{storage}{seed}'), Counter[str]()
    origin = [whole(folder, storage, packed) for packed in {False, storage == 'mcap'}]
    config = load_config(None, ['dataset.image_size=16', 'robot.state.topic=/odom'])
    for number in range(count):
        path = folder / f'{storage}{number}{SUFFIX[storage]}'
        path.write_bytes(rng.choice(origin))
        if storage == 'sqlite3' and rng.random() < 0.4:
            spoil_tables(path, rng)
        else:
            path.write_bytes(mutate(path.read_bytes(), rng))
        with tempfile.TemporaryDirectory(dir=folder) as out:
            found[outcome(lambda: convert([path], Path(out, 'out'), config))] += 1  # noqa: B023
        found[outcome(lambda: survey(find_bags([path])[0]))] += 1  # noqa: B023
        path.unlink()
    return found


def memory() -> int:
    """Return the peak memory of this process [bytes]."""
    status = Path('/proc/self/status')
    if status.is_file():  # where getrusage counts what the parent had when it forked, too
        found = re.search(r'VmHWM:\s+(\d+) kB', status.read_text(encoding='ascii'))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Damage the requested number of bags of each storage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=500, help='bags of each storage')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for storage in SUFFIX:
            for what, count in attack(storage, args.count, args.seed, Path(folder)).items():
                print(f'{storage}: {count} times {what}')
                bad += count * (what not in ('fine', 'refused'))
    print(f'{bad} bad outcomes; at most {memory() / 1e6:.0f} MB')
    return int(bool(bad) or memory() > LARGE)


if __name__ == '__main__':
    sys.exit(main())
