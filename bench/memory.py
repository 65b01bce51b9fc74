# SPDX-License-Identifier: Apache-2.0
"""
Measure how much memory `smwm convert` takes, and whether a longer bag takes more.

Each conversion is a process of its own that prints its peak resident memory, memory-mapped files
included. The bags are written for this benchmark and removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory

from common import main, Row
from convert import HEIGHT, IMAGE, WIDTH, write_bag
from rosbags.rosbag2 import StoragePlugin

GB = 1_000_000_000
CONVERT = """
import sys
from smwm_ros.cli import main
if main(sys.argv[1:]):
    sys.exit('the conversion failed')
with open('/proc/self/status') as status:
    print(next(line.split()[1] for line in status if line.startswith('VmHWM:')))
"""


def measure(quick: bool) -> Iterator[Row]:
    """Convert a bag, and a bag five times as long."""
    small, large = (GB // 5, GB) if quick else (GB, 5 * GB)
    with TemporaryDirectory() as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 1.3 * large:
            sys.exit(f'{folder}: {free / GB:.1f} GB free, {1.3 * large / GB:.1f} GB needed')
        less = peak(folder, small)
        most = peak(folder, large)
    yield Row('memory.peak', most, 'MB')
    yield Row(
        'memory.growth',
        100 * (most / less - 1),
        f'% from {small / GB:g} to {large / GB:g} GB',
    )


def peak(folder: Path, size: int) -> float:
    """Return the peak memory of converting a bag of so many bytes [MB]."""
    bag, out = folder / 'bag', folder / 'out'
    frames = size // (WIDTH * HEIGHT * 3)
    write_bag(bag, IMAGE, StoragePlugin.MCAP, frames)
    words = ['convert', str(bag), '--out', str(out)]
    done = subprocess.run(
        [sys.executable, '-c', CONVERT, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    said = done.stdout.splitlines()
    assert f' {frames} ticks' in said[0], said[0]
    shutil.rmtree(bag)
    shutil.rmtree(out)
    return int(said[-1]) / 1000


if __name__ == '__main__':
    main(measure, __doc__)
