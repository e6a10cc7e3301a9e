"""The sensors over painted ground: determinism, units, resampling, radiometry, clouds, speckle, edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.resample import aligned
from registry.chips import BIT, CHANNELS, UNKNOWN, Change, Component
from registry.models import S2_BANDS
from simulator.chips import SHIFTED, TRAIN, make_chip, make_pair
from simulator.chips.air import Air, Sun, draw_air, through_air
from simulator.chips.classes import scene_classes
from simulator.chips.climate import CLIMATE, season_of
from simulator.chips.layers import Ground, Layer, Material
from simulator.chips.optics import NATIVE_PX, OFFSETS, Lattice, numbers, read, through_optics, upsampling
from simulator.chips.palette import Float32
from simulator.chips.plants import PLANTS
from simulator.chips.recipe import ATMOSPHERES, CLIMATES, SPECTRA, Backdrop
from simulator.chips.sensors import Shot, illumination, place_at, take
from simulator.chips.speckle import speckles
from simulator.chips.spectra import KINDS, Season, look
from simulator.chips.texture import TEXTURES

SIZE = 96
EVEN = Season(vigour=0.8, moisture=0.2, year=0.5, soil=0.5, spectra="set_a")


def covering(material: Material, *, labels: int = 0, variant: float = 0.5) -> Layer:
    return Layer(material, np.ones((SIZE, SIZE), np.float32), 0, 0, labels=labels, variant=variant)


def ground(*layers: Layer, relief: Float32 | None = None) -> Ground:
    plain = Ground(SIZE, layers, "humid_tropics")
    return plain if relief is None else replace(plain, relief=relief)


FOREST = covering(Material.FOREST_EVERGREEN, labels=BIT[Component.FOREST])
POND = Layer(
    Material.GOLD_POND,
    np.ones((30, 30), np.float32),
    20,
    40,
    labels=BIT[Component.SETTLING_POND],
    variant=0.8,
)


def shot(of: Ground, index: int = 0, look: int = 0, *, clear: bool = True) -> Shot:
    return take(of, seed=3, index=index, look=look, recipe=TRAIN, day=200, clear=clear)


def whole(of: Ground, *, sky: str = "clear", look: int = 0) -> Shot:
    """The first place whose look has this sky and no cut edge."""
    for index in range(200):
        found = shot(of, index, look, clear=sky == "clear")
        if found.air.kind == sky and np.isfinite(found.chip.pixels).all():
            return found
    raise AssertionError(f"no look in 200 has the sky {sky}")


# The same again, and units


def test_the_same_arguments_give_the_same_bytes() -> None:
    one, other = make_chip(7, 3), make_chip(7, 3)
    assert one.pixels.tobytes() == other.pixels.tobytes()
    assert one.labels.tobytes() == other.labels.tobytes()
    assert one.pixels.tobytes() != make_chip(7, 4).pixels.tobytes()


def test_chips_are_reflectance_and_linear_gamma0() -> None:
    for index in range(4):
        chip = make_chip(8, index)
        assert chip.pixels.dtype == np.float32
        assert chip.pixels.shape == (len(CHANNELS), 256, 256)
        optical, radar = chip.pixels[:12], chip.pixels[12:]
        assert np.nanmin(optical) > -0.1
        assert np.nanmax(optical) < 2.0
        assert np.nanmin(radar) > 0.0
        assert -22.0 < 10 * np.log10(np.nanmedian(radar)) < -3.0
        assert chip.place == f"sim-8-{index}"
        assert {"climate", "mine_type", "sky", "spectra", "partner_lag_days"} <= set(chip.facts)


def test_texture_and_objects_stay_from_look_to_look() -> None:
    """Two looks at one place agree pixel by pixel; another place's texture does not."""
    first, second = (whole(ground(FOREST), look=look) for look in (0, 1))
    if first.chip.place != second.chip.place:
        index = int(first.chip.place.split("-")[-1])
        second = next(
            found
            for found in (shot(ground(FOREST), index, look) for look in range(1, 60))
            if found.air.kind == "clear" and np.isfinite(found.chip.pixels).all()
        )
    other = take(ground(FOREST), seed=99, index=0, look=0, recipe=TRAIN, day=200, clear=True)
    assert correlation(first.chip.pixels[3], second.chip.pixels[3]) > 0.7
    assert abs(correlation(first.chip.pixels[3], other.chip.pixels[3])) < 0.3
    assert correlation(first.chip.pixels[12], second.chip.pixels[12]) < 0.5, "speckle is new at every look"


def correlation(one: Float32, other: Float32) -> float:
    return float(np.corrcoef(one[2:-2, 2:-2].ravel(), other[2:-2, 2:-2].ravel())[0, 1])


# Optics


@pytest.mark.parametrize("px", [2, 6])
@pytest.mark.parametrize("phase", [0, 1, 5])
def test_resampling_is_the_detectors(px: int, phase: int) -> None:
    """Training = use: native pixels to 10 m as detector.resample reads them on an aligned grid."""
    phase %= px
    count = (SIZE - 1 + phase) // px + 1
    native = np.random.default_rng(1).random((count, count), np.float32)
    top, left = 6000.0, 600.0
    taps = aligned(
        left=left, top=top, shape=(SIZE, SIZE), step=10.0,
        source=(left - 10.0 * phase, top + 10.0 * phase, 10.0 * px, 10.0 * px),
    ).taps(0, 0, native.shape)  # fmt: skip
    ours = upsampling(SIZE, px, phase)
    assert np.allclose(ours @ native @ ours.T, taps.bilinear(native, None), atol=1e-6)


def test_whole_optics_leave_even_ground_as_it_is() -> None:
    light = np.full((12, SIZE, SIZE), 0.1234, np.float32)
    for phase in range(6):
        seen, _ = through_optics(light, Lattice(phase, phase, 0.3, -0.4), 0 * light, baseline="05.09")
        assert np.allclose(seen, 0.1234, atol=1e-6)


def test_bands_at_20_and_60_metres_have_their_own_pixels() -> None:
    light = np.random.default_rng(2).random((12, SIZE, SIZE), np.float32)
    _, native = through_optics(light, Lattice(0, 0, 0.0, 0.0), 0 * light, baseline="05.09", keep_native=True)
    assert {name: band.shape for name, band in native.items()} == {
        name: (SIZE // px, SIZE // px) for name, px in NATIVE_PX.items()
    }


def test_a_shift_moves_the_image_and_a_point_is_spread() -> None:
    light = np.zeros((12, SIZE, SIZE), np.float32)
    light[:, 48, 48] = 1.0
    seen, _ = through_optics(light, Lattice(0, 0, 0.0, 1.0), 0 * light, baseline="05.09")
    blue = seen[1]
    assert np.unravel_index(blue.argmax(), blue.shape) == (48, 49)
    assert 0.2 < blue.max() < 0.7
    assert blue.sum() == pytest.approx(1.0, abs=0.02)


def test_both_baselines_give_the_same_reflectance() -> None:
    values = np.linspace(0.0002, 1.2, 5000, dtype=np.float32)
    old, new = (read(numbers(values, baseline), baseline) for baseline in OFFSETS)
    assert np.abs(old - values).max() <= 0.5e-4 + 1e-6
    assert np.allclose(old, new, atol=2e-6)


def test_only_the_new_baseline_can_tell_what_is_below_zero() -> None:
    dark = np.array([-0.02], np.float32)
    assert read(numbers(dark, "05.09"), "05.09")[0] == pytest.approx(-0.02, abs=1e-4)
    assert read(numbers(dark, "02.14"), "02.14")[0] == pytest.approx(1e-4, abs=1e-6), "0 is no data"


# Radiometry


def test_a_hand_made_ground_has_its_materials_reflectance() -> None:
    """Even forest and a pond: medians within what a look and an object may differ."""
    found = whole(ground(FOREST, POND)).chip
    wanted = np.exp(look(Material.FOREST_EVERGREEN, 0.5, 0.0, EVEN))
    ratio = np.median(found.pixels[:12, 60:, :30], axis=(1, 2)) / wanted[:12]
    assert (np.abs(np.log(ratio)) < 0.45).all(), dict(zip(S2_BANDS, ratio.round(2), strict=True))
    pond, forest = found.pixels[:, 30:40, 50:60], found.pixels[:, 60:, :30]
    assert np.median(pond[3]) > 4 * np.median(forest[3]), "a stirred pond is bright in the red"
    assert np.median(pond[10]) < 0.5 * np.median(forest[10]), "and dark in the short-wave infrared"
    assert np.median(pond[12]) < 0.3 * np.median(forest[12]), "and smooth to the radar"


def test_cover_mixes_linearly() -> None:
    half = Layer(Material.SALT, np.full((SIZE, SIZE), 0.5, np.float32), 0, 0)
    full = replace(half, cover=np.ones((SIZE, SIZE), np.float32))
    base, mixed, salt = (
        shot(ground(*layers), 5).chip.pixels[3] for layers in ((FOREST,), (FOREST, half), (FOREST, full))
    )
    assert np.nanmedian(mixed / (0.5 * base + 0.5 * salt)) == pytest.approx(1.0, abs=0.02)


def test_slopes_to_the_sun_are_bright_and_water_lies_level() -> None:
    tilted = np.tile(np.arange(SIZE, dtype=np.float32) * 2.0, (SIZE, 1))
    east, south = np.full((2, 2), 0.2, np.float32), np.zeros((2, 2), np.float32)
    assert (illumination(east, south, Sun(40.0, 90.0)) < 0.9).all(), "rising to the east, away from the sun"
    assert (illumination(-east, south, Sun(40.0, 90.0)) > 1.1).all()
    flat, steep = (shot(ground(FOREST, POND, relief=r), 5).chip.pixels[3] for r in (None, tilted))
    inner = (slice(28, 42), slice(48, 62))
    assert np.nanmedian(steep[inner] / flat[inner]) == pytest.approx(1.0, abs=0.01)
    assert abs(np.nanmedian(steep[70:, :30] / flat[70:, :30]) - 1.0) > 0.03


def test_every_material_has_a_look_in_every_season_and_set() -> None:
    for material in Material:
        assert KINDS[material].texture in TEXTURES
        for variant in (0.0, 0.4, 1.0):
            for spectra in SPECTRA:
                for vigour in (0.0, 1.0):
                    season = replace(EVEN, vigour=vigour, spectra=spectra)
                    found = np.exp(look(material, variant, 2.0, season))
                    assert (found[:12] > 1e-4).all(), material
                    assert (found[:12] < 1.0).all(), material
                    assert 1e-3 < found[13] < found[12] < 1.0, material


def test_the_held_out_spectra_differ() -> None:
    held_out = replace(EVEN, spectra="set_b")
    for material in Material:
        one, other = (look(material, 0.5, 0.0, season)[:12] for season in (EVEN, held_out))
        assert np.abs(one - other).max() > 0.02, material


def test_phenology_turns_leaves_and_crops() -> None:
    for material in PLANTS:
        dry, green = (np.exp(look(material, 0.5, 0.0, replace(EVEN, vigour=v))) for v in (0.0, 1.0))
        if material is not Material.CROP:
            assert ndvi(green) > ndvi(dry), material
    year = [ndvi(np.exp(look(Material.CROP, 0.2, 0.0, replace(EVEN, year=t / 12)))) for t in range(12)]
    assert max(year) > 0.6
    assert min(year) < 0.35


def ndvi(found: Float32) -> float:
    return float((found[7] - found[3]) / (found[7] + found[3]))


@pytest.mark.parametrize("climate", CLIMATES)
def test_seasons_of_every_climate(climate: str) -> None:
    rng = np.random.default_rng(4)
    place = place_at(replace(ground(FOREST), climate=climate), 1, 1)
    seasons = [season_of(rng, place, day, "set_a") for day in range(1, 366, 10)]
    swing = max(s.vigour for s in seasons) - min(s.vigour for s in seasons)
    low, high = CLIMATE[climate].vigour
    assert swing > 0.6 * (high - low)
    assert all(0 <= s.moisture <= 1 for s in seasons)


# Air


def test_clouds_hide_labels_and_throw_shadows() -> None:
    found = whole(ground(FOREST), sky="cloud")
    assert found.air.cloud is not None
    assert found.air.shade is not None
    unknown = (found.chip.labels & UNKNOWN) != 0
    assert (unknown == (found.air.cloud > 0.35)).all()
    assert unknown.any()
    shadow = (found.air.shade > 0.6) & (found.air.cloud < 0.02)
    lit = (found.air.shade < 0.02) & (found.air.cloud < 0.02)
    green, white = found.chip.pixels[2], found.air.cloud > 0.9
    assert np.median(green[white]) > 4 * np.median(green[lit])
    if shadow.sum() > 30:
        assert np.median(green[shadow]) < 0.7 * np.median(green[lit])


def test_haze_is_blue_and_takes_contrast() -> None:
    dark, light = (np.full((12, 8, 8), value, np.float32) for value in (0.02, 0.30))
    veil = np.full((8, 8), 0.05, np.float32)
    air = Air(0.0, 1.3, veil, None, None, None, 0.0, "haze")
    added = through_air(dark.copy(), air) - dark
    assert (np.diff(added[:9, 0, 0]) < 0).all(), "path radiance falls with wavelength"
    assert added[10, 0, 0] < 0.3 * added[2, 0, 0]
    contrast = (through_air(light.copy(), air) - through_air(dark.copy(), air)) / (light - dark)
    assert (contrast < 1.0).all()


def test_harsh_air_is_harsher() -> None:
    def even(harsh: bool) -> NDArray[np.float64]:
        sun = Sun(50.0, 140.0)
        skies = [draw_air(np.random.default_rng(i), 32, sun, harsh=harsh, clear=False) for i in range(400)]
        return np.array([np.std([s.even for s in skies]), np.mean([s.kind != "clear" for s in skies])])

    usual, harsh = even(False), even(True)
    assert (harsh > 1.4 * usual).all(), (usual, harsh)
    assert SHIFTED.atmospheres == ATMOSPHERES[1:]


def test_scene_classes_see_most_of_the_cloud() -> None:
    found = whole(ground(FOREST, POND), sky="cloud")
    classes = scene_classes(found, ground(FOREST, POND), 1)
    assert found.air.cloud is not None
    cloud = found.air.cloud[::2, ::2]
    assert classes.shape == (SIZE // 2, SIZE // 2)
    assert np.isin(classes[cloud > 0.8], (8, 9, 10)).mean() > 0.8
    assert np.isin(classes[cloud < 0.01], (8, 9)).mean() < 0.2


# Radar


def test_speckle_has_its_looks_and_correlation() -> None:
    """ENL 4.4; neighbours correlate as a cell of 20 x 22 m at 10 m spacing makes them (.70, .74 measured)."""
    field = speckles()[0]
    assert field.mean() == pytest.approx(1.0, abs=0.01)
    assert 1.0 / field.var() == pytest.approx(4.4, rel=0.04)
    away = field - 1.0
    across, down = (
        float((away[:, :-1] * away[:, 1:]).mean() / away.var()),
        float((away[:-1] * away[1:]).mean() / away.var()),
    )
    assert across == pytest.approx(0.70, abs=0.05)
    assert down == pytest.approx(0.74, abs=0.05)


def test_even_ground_shows_about_that_many_looks() -> None:
    salt = covering(Material.SALT)
    found = whole(ground(replace(salt, grain=0.0))).chip.pixels[12]
    assert 3.6 < float(found.mean() ** 2 / found.var()) < 5.2


def test_both_orbits_and_lags_come_up() -> None:
    passes = [shot(ground(FOREST), index).radar for index in range(60)]
    assert {one.looks_east for one in passes} == {True, False}
    lags = {one.lag_days for one in passes}
    assert min(lags) >= 0
    assert max(lags) <= 24
    assert len(lags) > 10


def test_slopes_towards_the_radar_shine() -> None:
    tilted = np.tile(np.arange(SIZE, dtype=np.float32) * 3.0, (SIZE, 1))
    for index in range(8):
        flat, steep = (shot(ground(FOREST, relief=r), index) for r in (None, tilted))
        gain = float(np.nanmedian(steep.chip.pixels[12] / flat.chip.pixels[12]))
        assert (gain > 1.1) if flat.radar.looks_east else (gain < 0.9)


def test_now_and_then_one_sensor_ends_inside_the_chip() -> None:
    cut = {"optical": 0, "radar": 0}
    for index in range(150):
        chip = shot(ground(covering(Material.GRASS)), index).chip
        optical, radar = (np.isnan(part) for part in (chip.pixels[:12], chip.pixels[12:]))
        assert (optical.all(axis=0) == optical.any(axis=0)).all()
        assert (chip.unknown == optical[0]).all() or chip.facts["sky"] == "cloud"
        cut["optical"] += bool(optical.any())
        cut["radar"] += bool(radar.any())
        assert not (optical.any() and radar.any())
    assert all(1 <= number < 20 for number in cut.values()), cut


# Pairs and backdrops


def test_pairs_are_one_place_twice() -> None:
    alike = []
    for index in range(5):
        pair = make_pair(9, index, replace(TRAIN, size=128))
        assert pair.before.place == pair.after.place == f"sim-9-{index}"
        assert pair.before.name != pair.after.name
        assert pair.before.acquired < pair.after.acquired
        still = pair.change == Change.NONE
        alike.append(correlation_of_finite(pair.before.pixels[3], pair.after.pixels[3], still))
        cloud = (pair.after.labels & UNKNOWN) != 0
        assert np.isin(pair.change[cloud], (Change.HIDDEN, Change.UNKNOWN)).all()
    assert np.mean(alike) > 0.4, alike


def correlation_of_finite(one: Float32, other: Float32, inside: NDArray[np.bool_]) -> float:
    inside = inside & np.isfinite(one) & np.isfinite(other)
    return float(np.corrcoef(one[inside], other[inside])[0, 1])


def test_a_real_tile_takes_the_lands_place_but_not_the_mines() -> None:
    rng = np.random.default_rng(6)
    tile = Backdrop(
        "tile",
        (0.05 + 0.01 * rng.random((14, 60, 70))).astype(np.float32),
        np.full((60, 70), UNKNOWN, np.uint16),
    )
    recipe = replace(TRAIN, size=128, backdrops=(tile,), backdrop_share=1.0, mine_share=1.0)
    chip = make_chip(2, 1, recipe)
    mine = chip.has(Component.TRANSFORMED)
    assert chip.facts["backdrop"] == "tile"
    assert mine.any()
    land = (chip.labels & UNKNOWN) != 0
    assert land.any()
    assert np.nanmedian(chip.pixels[:12, land]) == pytest.approx(0.055, abs=0.01)
    assert np.nanstd(chip.pixels[7][mine]) > 2 * np.nanstd(chip.pixels[7][land])


def test_on_a_real_tile_only_the_mine_changes() -> None:
    tile = Backdrop("tile", np.full((14, 128, 128), 0.05, np.float32), np.zeros((128, 128), np.uint16))
    recipe = replace(TRAIN, size=128, backdrops=(tile,), backdrop_share=1.0, mine_share=1.0)
    for index in range(4):
        pair = make_pair(5, index, recipe)
        red = np.stack([pair.before.pixels[3], pair.after.pixels[3]])
        mined = pair.after.has(Component.TRANSFORMED)
        level = np.nanmedian(red[:, ~mined], axis=1)[:, None, None]
        plain = (np.abs(red / level - 1.0) < 1e-3).all(axis=0)
        assert plain.mean() > 0.2
        assert (pair.change[plain] == Change.NONE).all()
        assert np.isin(pair.change[mined], (Change.NEW_MINE, Change.STABLE_MINE, Change.UNKNOWN)).all()
