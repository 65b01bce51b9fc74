# SPDX-License-Identifier: Apache-2.0
"""Run a node as a process; at its end the last command is sent before ROS is shut down."""

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
from smwm_ros.nodes.nonblocking_log import nonblocking_log
from smwm_ros.text import echo

_CHECK_PERIOD = 0.5  # of the check whether the executor runs [s]


def run_node(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """
    Spin a node until SIGINT, SIGTERM or SIGHUP, however often sent; return the exit code.

    The executor calls the node's start(). Its finish() publishes the last messages; it may be
    called from any thread and more than once.
    """
    signals = _signal_socket()
    sys.setswitchinterval(1e-3)  # longest wait for another thread that computes [s]
    words = list(sys.argv if args is None else args)
    with nonblocking_log(make.__name__.removesuffix('Node').lower()):
        # nonblocking_log() writes the log file, for rclpy would wait for the disk.
        rclpy.init(
            args=[*words, '--ros-args', '--disable-external-lib-logs'],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        try:
            node = make()
        except SmwmError as error:
            echo(error, file=sys.stderr)
            rclpy.try_shutdown()
            return 2
        code = _run(node, signals)
    if getattr(node, 'hung', False):
        # A thread still computes; a normal exit of Python would abort in it.
        sys.stdout.flush()
        os._exit(code)
    return code


def _signal_socket() -> socket:
    """
    Return a socket that receives the signals that end a node; a closed terminal sends SIGHUP.

    The handlers do nothing else. A handler that did more could interrupt the last stop command,
    and rclpy's own would destroy the publishers before it is sent.
    """
    reader, writer = socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP, so that a node keeps running without its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    return reader


def _run(node: Node, signals: socket) -> int:
    """Spin a node until a signal; return the exit code."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end: Future[None] = Future()
    thread = Thread(target=_spin, args=(executor, end), name='executor', daemon=True)
    thread.start()
    executor.create_task(node.start)  # transitions must not run at the same time
    while (alive := _is_healthy(thread, node)) and not select([signals], [], [], _CHECK_PERIOD)[0]:
        pass
    node.finish()  # at once, although a callback may still run
    end.set_result(None)  # a shutdown now would break a running callback
    thread.join()
    executor.shutdown()
    node.finish()  # again, for that callback may have been the activation
    node.destroy_node()
    rclpy.try_shutdown()
    return 0 if alive else 1


def _is_healthy(thread: Thread, node: Node) -> bool:
    """Return whether the executor runs and the node has started without failure."""
    return thread.is_alive() and not getattr(node, 'failed', False)


def _spin(executor: SingleThreadedExecutor, end: Future[None]) -> None:
    """Spin until `end` is set."""
    with suppress(ExternalShutdownException):
        executor.spin_until_future_complete(end)
