"""Chapter 06's solutions run a whole graph: the codes stay those of the course's own arithmetic."""

from unittest.mock import patch

import numpy as np
from test_builds import NOTEBOOKS, solutions

from helpers import assets, vision
from helpers.integer import Simulator, htp_rounding
from helpers.integer.kernels import KERNELS


def test_the_solutions_run_the_detector_to_the_same_codes(int8):
    found = solutions(NOTEBOOKS / "06_integer.ipynb")
    called = []

    def requantize(total, m, e, zero_point):
        called.append("requantize")
        return found["my_requantize"](total, m, e, zero_point)

    def rescale(old, new, first=False):
        called.append("recode")
        m, e = (int(v) for v in htp_rounding.fixed_point(old.scale / new.scale, 15))
        return found["my_recode"](np.arange(256), int(old.zero_point), m, e, int(new.zero_point))

    def silu(op):
        called.append("silu")
        x, y = op.inputs[0], op.outputs[0]
        table = found["my_silu"](x.scale, int(x.zero_point), y.scale, int(y.zero_point))
        return lambda codes: table[codes]

    feed = next(iter(vision.Feeds([assets.crowded_scene()], int8)))
    expected = Simulator(int8).run(feed)
    rules = {"htp_requantize": requantize, "rescale_lut": rescale}
    with patch.multiple(htp_rounding, **rules), patch.dict(KERNELS, SiLU=silu):
        mine = Simulator(int8).run(feed)
    assert set(called) == {"requantize", "recode", "silu"}
    for name, codes in expected.items():
        np.testing.assert_array_equal(mine[name], codes, name)
