# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
How a ROS process of ours begins and ends: signals, and the thread that serves the callbacks.

rclpy's own signal handlers would close the topics before a last command is out, and a second
Ctrl-C, which a launch file forwards, would interrupt the clean-up.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
import signal
from threading import Event, Thread

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

InvalidHandle = rclpy_implementation.InvalidHandle
JOIN_S = 2.0


class Ended:
    """An event that a signal handler may set: threading.Event's lock is not reentrant."""

    def __init__(self) -> None:
        """Begin unset."""
        self._is_set = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Set it, for good."""
        self._is_set = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return once it is set, or time is up; whether it is set."""
        if not self._is_set:
            with suppress(Empty):
                self._wake.get(timeout=timeout_s)
                self._wake.put(None)  # for the next who waits
        return self._is_set


def begin(argv: list[str] | None) -> Ended:
    """Initialise rclpy with ROS arguments; return what SIGINT and SIGTERM set."""
    ended = Ended()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    return ended


def spin_once(executor: Executor) -> None:
    """Serve one callback, or none within 0.2 s, on an executor whose node may drop its topics."""
    try:
        executor.spin_once(timeout_sec=0.2)
    except InvalidHandle:
        pass  # rclpy adds a subscription's events to its wait set while a clean-up destroys it


def spin_until(executor: Executor, ended: 'Ended | Event', failures: list[Exception]) -> None:
    """Serve callbacks until `ended`; an error is noted in `failures` and sets `ended`."""
    try:
        while not ended.is_set():
            spin_once(executor)
    except Exception as error:  # handed to the thread that waits, which holds the arm first
        failures.append(error)
    finally:
        ended.set()


@contextmanager
def spun(*nodes: Node) -> Iterator[None]:
    """
    Serve the callbacks of nodes of one context on a thread; afterwards destroy them and end it.

    :raises Exception: what a callback raised, after the block
    """
    context = nodes[0].context
    executor, over = SingleThreadedExecutor(context=context), Ended()
    for node in nodes:
        executor.add_node(node)
    failures: list[Exception] = []
    thread = Thread(target=spin_until, args=(executor, over, failures), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=JOIN_S)
        executor.shutdown(timeout_sec=JOIN_S)
        for node in nodes:
            node.destroy_node()
        context.try_shutdown()
    if failures:
        raise failures[0]
