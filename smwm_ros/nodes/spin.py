# SPDX-License-Identifier: Apache-2.0
"""Run one node as a process that ends in order: last words first, then the middleware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
import os
from select import select
import signal
from socket import socket, socketpair
import sys
from threading import Thread

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from smwm_ros.errors import SmwmError
from smwm_ros.nodes.nonblocking_log import patient_log
from smwm_ros.text import tell

_LOOK = 0.5  # how often the main thread sees to the executor [s]


def run_node(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """
    Spin a node until SIGINT, SIGTERM or SIGHUP, however often they come; return the exit code.

    The node's start() is called by the executor; its finish(), which says the last words while
    publishers still work, may be called from any thread and more than once.
    """
    ear = _listen()
    sys.setswitchinterval(1e-3)  # a thread that is due waits no longer for one that computes
    words = list(sys.argv if args is None else args)
    with patient_log(make.__name__.removesuffix('Node').lower()):
        # The log file is written by who writes the console, for rclpy would wait for the disk.
        rclpy.init(
            args=[*words, '--ros-args', '--disable-external-lib-logs'],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        try:
            node = make()
        except SmwmError as error:
            tell(error, file=sys.stderr)
            rclpy.try_shutdown()
            return 2
        code = _run(node, ear)
    if getattr(node, 'hung', False):
        # Python would end in an abort, for it takes a thread's world away while it still computes.
        sys.stdout.flush()
        os._exit(code)
    return code


def _listen() -> socket:
    """
    Return an ear for the signals that end a node; SIGHUP comes when its terminal is closed.

    The signals only write into a socket. A handler that did more could interrupt the last stop
    command half-way, and rclpy's own would close the publishers before it.
    """
    ear, output = socketpair()
    output.setblocking(False)
    signal.set_wakeup_fd(output.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # With nohup a node goes on without its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    return ear


def _run(node: Node, ear: socket) -> int:
    """Spin a node until it is to end; return the exit code."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end: Future[None] = Future()
    thread = Thread(target=_spin, args=(executor, end), name='executor', daemon=True)
    thread.start()
    executor.create_task(node.start)  # there, for transitions must not run two at a time
    while (alive := _is_well(thread, node)) and not select([ear], [], [], _LOOK)[0]:
        pass
    node.finish()  # at once, though a callback may still run,
    end.set_result(None)  # a shutdown from here would take its tools away from a callback
    thread.join()
    executor.shutdown()
    node.finish()  # and again, for that callback may have been the activation
    node.destroy_node()
    rclpy.try_shutdown()
    return 0 if alive else 1


def _is_well(thread: Thread, node: Node) -> bool:
    """Say whether the node goes on: its executor lives, and it could start."""
    return thread.is_alive() and not getattr(node, 'failed', False)


def _spin(executor: SingleThreadedExecutor, end: Future[None]) -> None:
    """Serve callbacks until the end has come."""
    with suppress(ExternalShutdownException):
        executor.spin_until_future_complete(end)
