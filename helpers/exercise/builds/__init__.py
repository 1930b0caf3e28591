"""The builds of the course: a file a chapter, with a list `BUILDS`, found by being there."""

from __future__ import annotations

import functools
import importlib
import pkgutil

import helpers.exercise.builds as package
from helpers.exercise.build import Build


def _of_file(file: str) -> list[Build]:
    return importlib.import_module(f"{package.__name__}.{file}").BUILDS


@functools.cache
def builds() -> list[Build]:
    """Every build, in the order of the chapters.

    >>> builds()[0].chapter
    '01_affine'
    """
    files = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted((build for file in files for build in _of_file(file)), key=lambda build: build.chapter)


def build_named(name: str) -> Build:
    """The build of a name such as "affine.quantize"; raises ValueError that lists the nearest ones.

    Only the file of that name is imported.

    >>> build_named("affine.quantize").chapter
    '01_affine'
    """
    file = name.partition(".")[0]
    files = [module.name for module in pkgutil.iter_modules(package.__path__)]
    known = _of_file(file) if file in files else []
    for build in known:
        if build.name == name:
            return build
    choice = ", ".join(build.name for build in known) or ", ".join(f"{f}.…" for f in files)
    raise ValueError(f"build '{name}' is unknown; choose one of {choice}.")
