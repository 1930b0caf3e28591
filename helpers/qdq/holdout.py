"""Feeds that are read again and again, never all held at once, and a share of them held back to judge by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from helpers.graph import Feed

_FEWEST = 8  # feeds from which on a third is held back; fewer all calibrate, and judge as well


class Feeds(Protocol):
    """Feeds that can be read more than once; what has no `feeds[k]` is read from the start."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Feed]: ...


class Part:
    """Some of `feeds`, by index, read anew at each pass; `paths` are their files, where `feeds` knows them.

    >>> part = Part([{"x": 1}, {"x": 2}, {"x": 3}], [0, 2])
    >>> len(part), [feed["x"] for feed in part]
    (2, [1, 3])
    """

    def __init__(self, feeds: Feeds, indices: Iterable[int]):
        self.feeds, self.indices = feeds, list(indices)
        paths = list(getattr(feeds, "paths", ()))
        self.paths = [paths[i] for i in self.indices] if len(paths) == len(feeds) else []

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Feed]:
        if hasattr(self.feeds, "__getitem__"):
            return (self.feeds[i] for i in self.indices)
        wanted = set(self.indices)
        return (feed for i, feed in enumerate(self.feeds) if i in wanted)

    def spread(self, most: int) -> Part:
        """At most `most` of these, evenly spaced."""
        return Part(self.feeds, [self.indices[i] for i in spread(len(self), most)])


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, each in the middle of its share.

    >>> spread(9, 3), spread(2, 5)
    ([1, 4, 7], [0, 1])
    """
    some = min(most, count)
    return [(2 * i + 1) * count // (2 * some) for i in range(some)]


def again(feeds: Any) -> Feeds:
    """`feeds`, if they can be read more than once; ValueError for a generator, one feed alone, or none.

    >>> again(feed for feed in [])
    Traceback (most recent call last):
    ValueError: the feeds are read several times, which a generator is not: give a list, or `tasks.Feeds(pictures)`.
    """
    if isinstance(feeds, dict):
        raise ValueError("the feeds are one {input name: array}; give a list of them.")
    if iter(feeds) is feeds:
        text = "the feeds are read several times, which a generator is not: give a list, or `tasks.Feeds(pictures)`."
        raise ValueError(text)
    if not hasattr(feeds, "__len__"):
        raise ValueError("the feeds have no length: give a list, or `tasks.Feeds(pictures)`.")
    if not len(feeds):
        raise ValueError("there are no feeds: give at least one {input name: array}.")
    return feeds


def hold_back(feeds: Any, most: int) -> tuple[Part, Part]:
    """(feeds to calibrate on, feeds to judge by): every third judges, at most `most`, and none does both.

    Below 8 feeds all calibrate, and up to `most` of them judge as well. Raises ValueError as `again` does.

    >>> [part.indices for part in hold_back([{}] * 9, 20)]
    [[0, 2, 3, 5, 6, 8], [1, 4, 7]]
    >>> [part.indices for part in hold_back([{}] * 3, 2)]
    [[0, 1, 2], [0, 2]]
    """
    feeds = again(feeds)
    count = len(feeds)
    if count < _FEWEST:
        return Part(feeds, range(count)), Part(feeds, spread(count, most))
    judging = spread(count, min(most, count // 3))
    return Part(feeds, [i for i in range(count) if i not in judging]), Part(feeds, judging)
