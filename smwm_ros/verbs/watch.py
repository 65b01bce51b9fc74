# SPDX-License-Identifier: Apache-2.0
"""
Show a running plan node live in the Rerun viewer, or record it for that viewer.

Camera, goal, plan, commands with their limits, distance, cost, latency, status and log are shown
while they are published. The command subscribes only: it publishes nothing, and calls no service
of the node. It may be started before the node, and follows the node through restarts. It needs the
optional extra viz.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from importlib.util import find_spec
import os
from pathlib import Path
import signal
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING

from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smwm_ros.nodes.inbox import Inbox
    from smwm_ros.nodes.watched_messages import WatchedMessages
    from smwm_ros.viewers.live import Live

EXAMPLE = 'smwm watch --save drive.rrd'
_DISPLAYS = ('DISPLAY', 'WAYLAND_DISPLAY')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--spawn', action='store_true', help='start a viewer here (default, if there is a display)'
    )
    where.add_argument(
        '--connect',
        metavar='ADDRESS',
        help='viewer to send to: HOST, HOST:PORT or rerun+http://HOST:PORT/proxy',
    )
    where.add_argument(
        '--save',
        type=Path,
        metavar='FILE',
        help='write to FILE.rrd, which must not exist; it can be opened while it grows',
    )


def run(args: argparse.Namespace) -> int:
    """Show the node until interrupted."""
    from smwm_ros.errors import missing_extra

    if find_spec('rclpy') is None:
        raise missing_extra('watching a node', 'ros', "'.[ros]' in its folder")
    from smwm_ros.nodes.inbox import Inbox
    from smwm_ros.nodes.watched_messages import WatchedMessages
    from smwm_ros.nodes.watcher import Watcher

    inbox = Inbox()
    with _interrupted() as ended, Watcher(args.namespace, inbox) as watcher:
        live, where = _open(args, watcher.target)
        echo(f'watching {watcher.target}, shown in {where}; Ctrl-C ends this')
        thread = _Display(inbox, WatchedMessages(watcher.target, live), live, ended)
        thread.start()
        watcher.run(ended.is_set)
        inbox.close()
        thread.join()
    if thread.error:
        raise thread.error
    echo(f'{where}: {count_of(thread.shown, "message")} shown, {inbox.dropped} dropped')
    return 0


class _Display(Thread):
    """Shows the messages of an inbox."""

    def __init__(self, inbox: Inbox, messages: WatchedMessages, live: Live, ended: Event) -> None:
        super().__init__(name='display', daemon=True)
        self._inbox, self._messages, self._live, self._ended = inbox, messages, live, ended
        self.shown = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Show messages until the inbox is closed."""
        try:
            while (some := self._inbox.take()) is not None:
                self._messages.show(some)
                self.shown += len(some)
                self._live.flush()
            self._live.close()
        except Exception as error:
            self.error = error
            self._ended.set()


def _open(args: argparse.Namespace, target: str) -> tuple[Live, str]:
    """Open what shows the node; return it, and its name."""
    from smwm_ros.errors import SmwmError
    from smwm_ros.files import require_new
    from smwm_ros.viewers.live import address_of, Live, spawn

    if args.save:
        require_new(args.save)
        return Live(target, args.save, None), str(args.save)
    if not args.connect and not args.spawn and not _has_display():
        raise SmwmError('there is no display here; use --save FILE, or --connect ADDRESS')
    address = address_of(args.connect) if args.connect else spawn()
    return Live(target, None, address), address


def _has_display() -> bool:
    """Return whether a window can be opened."""
    return sys.platform == 'darwin' or any(os.environ.get(name) for name in _DISPLAYS)


@contextmanager
def _interrupted() -> Iterator[Event]:
    """Yield an event that is set by the signals that end a program."""
    ended = Event()
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, lambda *_: ended.set()) for kind in kinds}
    try:
        yield ended
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
