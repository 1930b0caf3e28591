"""Calibration held against ONNX Runtime's own calibrators, and run on a real Dask cluster."""

import contextlib
import io
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationMethod, create_calibrator

from helpers import assets, calibrate, session, vision


@pytest.fixture(scope="module")
def feeds(cut):
    return list(vision.Feeds(assets.images("calibration")[:3], cut))


@pytest.fixture(scope="module")
def peer(cut, feeds, tmp_path_factory):
    """ONNX Runtime's ranges by one of its methods: {tensor: (rmin, rmax)}, and the calibrator."""

    def ranges(method, **options):
        work = tmp_path_factory.mktemp("peer")
        calibrator = create_calibrator(cut, None, work / "augmented.onnx", method, extra_options=options)
        calibrator.set_execution_providers(["CPUExecutionProvider"])
        reader = SimpleNamespace(get_next=partial(next, iter(feeds), None))
        with contextlib.redirect_stdout(io.StringIO()):
            calibrator.collect_data(reader)
            found = calibrator.compute_data().data
        return {name: tuple(float(np.squeeze(v)) for v in t.range_value) for name, t in found.items()}, calibrator

    return ranges


@pytest.fixture(scope="module")
def ours(cut, feeds):
    return calibrate.observe(cut, feeds, sample=None)


@pytest.fixture(scope="module")
def minmax(peer):
    return peer(CalibrationMethod.MinMax)[0]


def test_minmax_is_onnx_runtime_s(minmax, ours):
    assert len(minmax) > 100 and set(minmax) <= set(ours)
    for name, found in minmax.items():
        # ONNX Runtime may fuse what the calibrator does not watch; the last bit is its own
        np.testing.assert_allclose(calibrate.minmax(ours[name]), found, rtol=2e-5, atol=1e-5, err_msg=name)


def test_percentile_is_onnx_runtime_s_to_within_a_bin(peer, ours):
    found, calibrator = peer(CalibrationMethod.Percentile, num_bins=2048, percentile=99.9, symmetric=False)
    histograms = calibrator.collector.histogram_dict
    assert len(found) > 100
    for name, theirs in found.items():
        edges = histograms[name][1]
        # theirs is the lower edge of the bin that holds the quantile
        bin_ = (edges[1] - edges[0]) + max(np.diff(ours[name].edges).min(), 1e-7)
        mine = calibrate.percentile(ours[name], 99.9)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1.01 * bin_, err_msg=name)


def test_onnx_runtime_s_entropy_with_its_defaults_is_minmax(peer, minmax):
    """128 bins for 128 levels leave one threshold to try. The day this fails, chapter 04 has news to tell."""
    for name, (low, high) in peer(CalibrationMethod.Entropy)[0].items():
        assert (low, high) == pytest.approx(minmax[name], rel=1e-5, abs=1e-5), name


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        ) as local,
        distributed.Client(local) as client,
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        yield client.get_executor()


def test_two_dask_workers_give_what_one_process_gives(cluster, cut):
    feeds = vision.Feeds(assets.images("calibration")[:20], cut)
    here, there = calibrate.observe(cut, feeds), calibrate.observe(cut, feeds, executor=cluster)
    assert here == there and all(here[name].feeds == there[name].feeds for name in here)
    bad = [next(iter(feeds)) for _ in range(10)]
    bad[9]["images"] = np.full_like(bad[9]["images"], np.nan)
    with pytest.raises(ValueError, match="tensor 'images' holds NaN or inf in feed 9"):
        calibrate.observe(cut, bad, executor=cluster)


def test_two_dask_workers_score_what_one_process_scores(cluster, int8):
    pictures = assets.images("validation")[:6]
    assert vision.evaluate(int8, pictures, executor=cluster) == vision.evaluate(int8, pictures)
    if "htp" in session.targets():
        assert vision.evaluate(int8, pictures[:1], "htp", cluster) == vision.evaluate(int8, pictures[:1], "htp")
    with pytest.raises(FileNotFoundError, match="gone"):
        vision.evaluate("gone.onnx", pictures, executor=cluster)
