"""One job at a time in a thread; of those asked for meanwhile only the last is done."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stale(Exception):
    """Raised inside of a job by `LatestJob.check`, once another waits or `stop` was asked for."""


class LatestJob:
    """Runs jobs one at a time, never a queue: a new one replaces what waits, and ends what runs at its next `check`.

    >>> done, latest = [], LatestJob(print)
    >>> for k in range(3):
    ...     latest.ask(lambda k=k: done.append(k))
    >>> latest.wait(), done[-1]
    (True, 2)
    """

    def __init__(self, failed: Callable[[Exception], None]):
        self._failed = failed  # told of what else a job raises
        self._change = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._busy = self._stopped = False

    def ask(self, job: Callable[[], None]) -> None:
        """Do `job` as soon as what runs has ended; it replaces the one that waits."""
        with self._change:
            self._next, start, self._busy = job, not self._busy, True
        if start:
            threading.Thread(target=self._run, daemon=True).start()

    def check(self) -> None:
        """Called by a job between its parts: raises Stale where it should end."""
        if self._next or self._stopped:
            raise Stale

    def stop(self) -> None:
        """End what runs at its next `check`, and forget what waits."""
        with self._change:
            self._next, self._stopped = None, self._busy

    def wait(self, timeout: float = 60) -> bool:
        """Whether all is done, at the latest after `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: not self._busy, timeout)

    def _run(self) -> None:
        while True:
            with self._change:
                job, self._next, self._stopped = self._next, None, False
                if job is None:
                    self._busy = False
                    self._change.notify_all()
                    return
            try:
                job()
            except Stale:
                continue
            except Exception as error:
                self._failed(error)
