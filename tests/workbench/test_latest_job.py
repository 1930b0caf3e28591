"""One job at a time, and the last one asked stands."""

import threading

from helpers.workbench.latest_job import LatestJob


def test_latest_ends_what_is_stale_and_survives_an_error():
    seen, failed, started, go = [], [], threading.Event(), threading.Event()
    latest = LatestJob(failed.append)

    def long():
        started.set()
        while True:
            assert go.wait(5)
            latest.check()

    latest.ask(long)
    assert started.wait(5)
    for k in range(3):
        latest.ask(lambda k=k: seen.append(k))
    go.set()
    assert latest.wait(5) and seen == [2]
    latest.ask(lambda: 1 / 0)
    assert latest.wait(5) and isinstance(failed[0], ZeroDivisionError)
    latest.ask(long)
    latest.stop()
    assert latest.wait(5)
