"""Every build: the course's own answer passes, a blank and typical wrong answers do not, and solutions are right."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from helpers import exercise
from helpers.exercise.build import judge

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WRONG = [
    wrong
    for path in sorted((Path(__file__).parent / "wrong").glob("*.py"))
    for wrong in importlib.import_module(f"wrong.{path.stem}").WRONG
]
each = pytest.mark.parametrize("build", exercise.builds(), ids=lambda build: build.name)


@each
def test_the_course_s_own_answer_passes(build):
    assert judge(build, build.reference)


@each
def test_a_blank_fails_and_counts_as_no_try(build):
    def blank(*arguments): ...

    assert not exercise.check(build.name, blank)
    assert "still blank" in exercise.check(build.name, blank).text
    assert exercise.progress().done == 0 and all(not entry for _, entry in exercise.progress().rows)


@each
def test_each_known_mistake_is_named(build):
    for mistake in build.mistakes:
        verdict = judge(build, mistake.function)
        assert not verdict and mistake.sentence in verdict.text, verdict


@each
def test_two_wrong_answers_are_committed(build):
    assert sum(name == build.name for name, _, _ in WRONG) >= 2


@pytest.mark.parametrize("name, function, words", WRONG, ids=[f"{n}-{f.__name__}" for n, f, _ in WRONG])
def test_a_wrong_answer_gets_the_right_sentence(name, function, words):
    verdict = exercise.check(name, function)
    assert not verdict and words in verdict.text, verdict


@each
def test_the_hint_grows_with_the_second_miss(build):
    def wrong(*arguments):
        return "no"

    first, second = (exercise.check(build.name, wrong).text for _ in range(2))
    assert build.hints[0] in first and build.hints[1] in second


def builds_asked(path):
    """{build: the reader's function that its notebook checks}."""
    source = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    return dict(re.findall(r"check\(\"(\w+\.\w+)\", (\w+)\)", source))


def solutions(path):
    """Code that stands folded in the text, by the functions it defines; with the notebook's imports."""
    cells = nbformat.read(path, 4).cells
    codes = [ast.parse(c.source) for c in cells if c.cell_type == "code"]
    imports = [node for code in codes for node in code.body if isinstance(node, ast.Import | ast.ImportFrom)]
    space = {}
    exec(compile(ast.Module(imports, []), path.stem, "exec"), space)
    for cell in cells:
        if cell.cell_type == "markdown" and "<details>" in cell.source:
            for code in re.findall(r"```python\n(.*?)```", cell.source, re.S):
                exec(compile(code, path.stem, "exec"), space)
    return space


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_s_solutions_are_right_and_its_blanks_blank(path):
    asked = builds_asked(path)
    found = solutions(path) if asked else {}
    codes = [ast.parse(c.source) for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    for name, function in asked.items():
        assert function in found, f"no solution defines {function}"
        assert judge(exercise.build_named(name), found[function]), name
        definition = next(
            node for code in codes for node in code.body if isinstance(node, ast.FunctionDef) and node.name == function
        )
        body = [n for n in definition.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        assert not body, f"{function} is not blank"


def test_every_build_is_asked_in_its_chapter():
    asked = {name: path.stem for path in NOTEBOOKS.glob("*.ipynb") for name in builds_asked(path)}
    assert asked == {build.name: build.chapter for build in exercise.builds()}


def test_what_passed_is_kept_and_used(monkeypatch, capsys):
    import __main__

    def my_dequantize(q, scale, zero_point):
        return scale * (q.astype(np.float32) - zero_point)

    monkeypatch.setattr(__main__, "np", np, raising=False)
    assert exercise.check("affine.dequantize", my_dequantize)
    assert exercise.progress().done == 1
    again = exercise.yours("affine.dequantize")
    assert capsys.readouterr().out == "affine.dequantize: yours\n"
    assert again.__code__.co_filename == "<your build>" and again(np.array([5], np.uint8), 0.5, 3) == 1
    exercise.reset("affine.dequantize")
    assert exercise.yours("affine.dequantize") is exercise.build_named("affine.dequantize").reference
    assert "until you build it in 01_affine" in capsys.readouterr().out


def test_a_notebook_s_variable_of_the_same_name_is_no_need_of_the_function(monkeypatch):
    def my_dequantize(q: "np.ndarray", scale, zero_point):
        steps = [float(value) - zero_point for value in q]
        return np.array([scale * step for step in steps])

    for name in ("q", "scale", "steps", "step", "value"):
        monkeypatch.setitem(my_dequantize.__globals__, name, object())
    assert "cannot be kept" not in exercise.check("affine.dequantize", my_dequantize).text
    assert exercise.yours("affine.dequantize")(np.array([5], np.uint8), 0.5, 3) == 1


def test_what_uses_the_notebook_passes_but_is_not_kept():
    outside = {"S": object()}

    def my_dequantize(q, scale, zero_point):
        assert outside
        return scale * (q.astype(np.float32) - zero_point)

    verdict = exercise.check("affine.dequantize", my_dequantize)
    assert verdict and "cannot be kept" in verdict.text


def test_a_damaged_file_of_progress_is_named(tmp_path):
    exercise.progress.__globals__["file"]().write_text("{")
    with pytest.raises(ValueError, match=r"progress\.json: cannot be read"):
        exercise.progress()


@pytest.mark.filterwarnings("error")
def test_infinite_and_missing_numbers_are_compared_without_a_warning():
    verdict = judge(exercise.build_named("attribution.noise_sum"), lambda levels: np.nan)
    assert not verdict and verdict.distance == np.inf
    one = exercise.build_named("attribution.one_at_a_time")
    assert not judge(one, lambda run, weights, rounded: dict.fromkeys(weights, np.inf))


def test_an_unknown_build_lists_its_neighbours():
    with pytest.raises(ValueError, match=r"'affine\.quantise' is unknown; choose one of affine\.quantize"):
        exercise.check("affine.quantise", len)


def test_a_result_instead_of_a_function_is_told():
    assert "give the function itself" in exercise.check("affine.quantize", 3).text


def test_what_the_function_raises_and_changes_is_told():
    def divides(x, scale, zero_point, qmin, qmax):
        raise ZeroDivisionError("by zero")

    def in_place(x, scale, zero_point, qmin, qmax):
        x /= 2
        return x

    assert "stopped with ZeroDivisionError: by zero" in exercise.check("affine.quantize", divides).text
    texts = [exercise.check("affine.quantize", in_place).text]
    assert "changed its own arguments" in texts[0] or "Not yet" in texts[0]
