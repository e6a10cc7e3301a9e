"""How well pixels were seen: clouds, shadow, snow, edges of data, and too little of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.quality import CLEAR, UNSEEN, WEAK, look_quality
from detector.stack import Stack
from registry.detection import QualitySettings
from registry.grid import Grid

GRID = Grid(epsg=32634, left=500_040, top=5_000_060, width=60, height=50)
PLAIN = QualitySettings(edge_erosion_px=0, min_clear_fraction=0.0)
VEGETATION, CLOUD, SHADOW = 4, 9, 3


def stack_of(scl: Any = None, **bands: Any) -> Stack:
    plain: dict[str, Any] = {"B04": np.full(GRID.shape, 0.1, np.float32)}
    classes = None if scl is None else np.asarray(scl, dtype=np.uint8)
    return Stack(grid=GRID, bands=bands or plain, scl=classes, partner_age_days=None)


def classes_with(value: int, row: int, column: int) -> Any:
    found = np.full(GRID.shape, VEGETATION, dtype=np.uint8)
    found[row, column] = value
    return found


def metres_from(row: int, column: int) -> Any:
    rows, columns = np.mgrid[: GRID.height, : GRID.width]
    return np.hypot(rows - row, columns - column) * 10


@given(row=st.integers(0, 49), column=st.integers(0, 59), cloud=st.booleans())
def test_clouds_and_shadows_are_widened_by_their_metres(row: int, column: int, cloud: bool) -> None:
    weight = look_quality(stack_of(classes_with(CLOUD if cloud else SHADOW, row, column)), PLAIN).weight
    reach = PLAIN.cloud_dilation_m if cloud else PLAIN.shadow_dilation_m
    assert reach > 0
    assert np.array_equal(weight == UNSEEN, metres_from(row, column) <= reach)


def test_snow_and_no_data_classes_hide_only_themselves() -> None:
    for value in (0, 1, 11):
        assert value in PLAIN.scl_bad
        weight = look_quality(stack_of(classes_with(value, 20, 30)), PLAIN).weight
        assert (weight == UNSEEN).sum() == 1
        assert weight[20, 30] == UNSEEN


def test_doubtful_classes_count_half() -> None:
    (weak, *_) = PLAIN.scl_weak
    weight = look_quality(stack_of(classes_with(weak, 20, 30)), PLAIN).weight
    assert weight[20, 30] == WEAK
    assert (weight == CLEAR).sum() == weight.size - 1


def test_pixels_beside_no_data_are_dropped_but_the_grids_border_is_no_edge() -> None:
    band = np.full(GRID.shape, 0.1, np.float32)
    band[25, 30] = np.nan
    settings = PLAIN.model_copy(update={"edge_erosion_px": 2})
    weight = look_quality(stack_of(np.full(GRID.shape, VEGETATION), B04=band), settings).weight
    unseen = np.zeros(GRID.shape, bool)
    unseen[23:28, 28:33] = True
    assert np.array_equal(weight == UNSEEN, unseen)


def test_a_pixel_needs_all_optical_bands_and_radar_never_hides_them() -> None:
    one, other, radar = (np.full(GRID.shape, 0.1, np.float32) for _ in range(3))
    one[3, 3], other[4, 4], radar[5, 5] = np.nan, np.nan, np.nan
    scl = np.full(GRID.shape, VEGETATION)
    weight = look_quality(stack_of(scl, B04=one, B08=other, VH=radar), PLAIN).weight
    assert [tuple(at) for at in np.argwhere(weight == UNSEEN)] == [(3, 3), (4, 4)]
    alone = look_quality(stack_of(None, VV=one, VH=radar), PLAIN).weight
    assert [tuple(at) for at in np.argwhere(alone == UNSEEN)] == [(3, 3), (5, 5)]


def test_too_few_clear_pixels_are_no_evidence_at_all() -> None:
    scl = np.full(GRID.shape, CLOUD)
    scl[:10] = VEGETATION
    settings = PLAIN.model_copy(update={"min_clear_fraction": 0.5, "cloud_dilation_m": 0.0})
    found = look_quality(stack_of(scl), settings)
    assert found.clear_fraction == pytest.approx(0.2)
    assert not found.weight.any()
    assert "no evidence taken" in found.notes[-1]


def test_the_clear_share_is_that_of_the_watched_pixels() -> None:
    scl = np.full(GRID.shape, CLOUD)
    scl[:10] = VEGETATION
    inside = np.zeros(GRID.shape, bool)
    inside[:5] = True
    settings = PLAIN.model_copy(update={"min_clear_fraction": 0.5, "cloud_dilation_m": 0.0})
    found = look_quality(stack_of(scl), settings, inside=inside)
    assert found.clear_fraction == 1.0
    assert (found.weight[:10] == CLEAR).all()


def test_without_scene_classes_white_is_cloud_and_bare_ground_is_not() -> None:
    blue, red = np.full(GRID.shape, 0.04, np.float32), np.full(GRID.shape, 0.03, np.float32)
    blue[10, 10], red[10, 10] = 0.45, 0.44
    blue[40, 50], red[40, 50] = 0.25, 0.40
    found = look_quality(stack_of(None, B02=blue, B04=red), PLAIN)
    hidden = metres_from(10, 10) <= PLAIN.cloud_dilation_m
    assert np.array_equal(found.weight == UNSEEN, hidden)
    assert "brightness" in found.notes[0]
