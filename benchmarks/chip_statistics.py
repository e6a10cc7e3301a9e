"""Simulated chips beside real tiles: band means, spread, correlations, texture at three scales, radar.

``python -m benchmarks.chip_statistics`` prints the tables of docs/simulator.md. The real tiles are no part of
the project: GROUNDWATCH_TEST_DATA, or shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from registry.chips import CHANNELS
from registry.models import S2_BANDS
from simulator.chips.labels import MATERIALS, paint_materials
from simulator.chips.layers import Material
from simulator.chips.make import draw_ground
from simulator.chips.optics import NATIVE_PX, upsampling
from simulator.chips.recipe import CLIMATES, TRAIN, Recipe
from simulator.chips.sensors import take

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]

CLASSES = {
    "trees": (2, "forest_evergreen forest_deciduous forest_needle mangrove plantation secondary"),
    "range": (9, "shrub savanna grass wetland"),
    "crops": (4, "crop ploughed"),
    "built": (5, "roof_metal roof_tile roof_dark concrete asphalt"),
    "bare": (6, "sand soil mud rock scree salt"),
    "water": (1, "water_clear water_turbid water_green sea"),
}
"""Class -> its number in the tiles' land cover, and the materials that stand for it."""

TEXTURED = ("B03", "B04", "B08", "B11", "VH")
PAIRS = (("B02", "B04"), ("B03", "B04"), ("B04", "B08"), ("B08", "B8A"), ("B04", "B11"), ("B08", "B11"),
         ("B11", "B12"), ("VV", "VH"), ("B08", "VH"))  # fmt: skip
LEAST = 1500
"""Pixels that a class needs in a tile to be counted."""

OFFSETS = {"433D": 1000.0}
"""Still in the numbers of this site: nothing in it is darker than 1080 in any band, water in the short-wave
infrared included, which no haze does; with 1000 taken off it is a clear image (detector.units refuses it)."""


@dataclass(frozen=True)
class Tile:
    """One image with classes."""

    name: str
    pixels: Float32
    """(14, h, w) ln(reflectance + .01), dB."""
    classes: Codes
    """(h, w) number in CLASSES, from 1; 0 = something else."""


def data_folder() -> Path:
    """Where the real data lie, by the rule of tests/conftest.py."""
    named = os.environ.get("GROUNDWATCH_TEST_DATA")
    repository = Path(__file__).resolve().parent.parent
    places = [Path(named)] if named else [repository.parent / "shared/data", repository / "shared/data"]
    for folder in places:
        if (folder / "README.md").is_file():
            return folder
    raise SystemExit("real data are missing: they are no part of the project; set GROUNDWATCH_TEST_DATA")


def real_tiles(folder: Path) -> Iterator[Tile]:
    """The TerraMesh tiles, but for the one under snow."""
    for path in sorted((folder / "terramind_s1s2" / "S2L2A").glob("*.tif")):
        radar = _read(folder / "terramind_s1s2" / "S1RTC" / path.name).astype(np.float32)
        cover = _read(folder / "terramind_s1s2" / "LULC" / path.name)[0]
        if (cover == 7).mean() < 0.5:
            yield Tile(path.stem[:4], _scaled(tile_reflectance(path), radar), _numbered(cover))


def tile_reflectance(path: Path) -> Float32:
    """(12, h, w) reflectance of a tile, its 20 and 60 m bands as a stack has them."""
    numbers = _read(path).astype(np.float32) - np.float32(OFFSETS.get(path.stem.split("_")[0], 0.0))
    return _resampled(numbers * np.float32(1e-4))


def _resampled(optical: Float32) -> Float32:
    """The tiles repeat the pixels of 20 and 60 m; here they are read bilinearly, as a stack is."""
    found = optical.copy()
    size = optical.shape[-1]
    for number, name in enumerate(S2_BANDS):
        px = NATIVE_PX[name]
        if px > 1:
            row, column = _phase(optical[number].T, px), _phase(optical[number], px)
            rows, columns = (
                np.unique((np.arange(size) + p) // px, return_index=True)[1] for p in (row, column)
            )
            native = optical[number][np.ix_(rows, columns)]
            found[number] = upsampling(size, px, row) @ native @ upsampling(size, px, column).T
    return found


def _phase(band: Float32, px: int) -> int:
    """Pixels from the last edge of a native pixel to the band's first column."""
    steps = (np.diff(band, axis=1) != 0).mean(axis=0)
    return max(range(px), key=lambda p: float(steps[(px - 1 - p) % px :: px].mean()))


def _read(path: Path) -> NDArray[np.generic]:
    with rasterio.open(path) as source:
        found: NDArray[np.generic] = source.read()
    return found


def _numbered(cover: NDArray[np.generic]) -> Codes:
    found = np.zeros(cover.shape, np.uint8)
    for number, (code, _) in enumerate(CLASSES.values(), start=1):
        found[cover == code] = number
    return found


def simulated_tiles(recipe: Recipe, *, seed: int, count: int) -> Iterator[Tile]:
    """Clear looks at the simulator's places, sure of what each pixel is made of."""
    of_material = np.zeros(len(MATERIALS), np.uint8)
    for number, (_, members) in enumerate(CLASSES.values(), start=1):
        for member in members.split():
            of_material[MATERIALS.index(Material(member))] = number
    for index in range(count):
        ground, day = draw_ground(seed, index, recipe)
        if "snow" in ground.facts["look_alike"].split(","):
            # Nor do the real tiles that it is held against have any.
            continue
        shot = take(ground, seed=seed, index=index, look=0, recipe=recipe, day=day, clear=True)
        pixels = shot.chip.pixels
        if np.isnan(pixels).any():
            continue
        radar = np.asarray(10.0 * np.log10(np.maximum(pixels[12:], 1e-4)), np.float32)
        yield Tile(shot.chip.name, _scaled(pixels[:12], radar), of_material[paint_materials(ground)])


def _scaled(optical: Float32, radar: Float32) -> Float32:
    return np.concatenate([np.log(np.maximum(optical, 0.0) + 0.01), radar]).astype(np.float32)


def local_mean(field: Float32, inside: NDArray[np.bool_], width: int) -> Float32:
    """Mean over the class's own pixels of a window."""
    weight = uniform_filter(inside.astype(np.float32), width)
    mean: Float32 = uniform_filter(np.where(inside, field, 0.0).astype(np.float32), width)
    return np.asarray(mean / np.maximum(weight, 1e-6), np.float32)


def textures(field: Float32, inside: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Spread below 3 pixels, from 3 to 15, and above, within a class."""
    small, large = local_mean(field, inside, 3), local_mean(field, inside, 15)
    parts = (field - small, small - large, large)
    fine, medium, coarse = (float(part[inside].std()) for part in parts)
    return fine, medium, coarse


Measure = Callable[[Float32, NDArray[np.bool_]], Mapping[str, float]]


def means(pixels: Float32, inside: NDArray[np.bool_]) -> Mapping[str, float]:
    """Median reflectance x 10000 and dB."""
    middle = np.median(pixels[:, inside], axis=1)
    optical = {band: (np.exp(middle[n]) - 0.01) * 1e4 for n, band in enumerate(S2_BANDS)}
    return {**optical, "VV": float(middle[12]), "VH": float(middle[13])}


def spreads(pixels: Float32, inside: NDArray[np.bool_]) -> Mapping[str, float]:
    """Standard deviation of the logarithm, and of dB."""
    return dict(zip(CHANNELS, (float(value) for value in pixels[:, inside].std(axis=1)), strict=True))


def correlations(pixels: Float32, inside: NDArray[np.bool_]) -> Mapping[str, float]:
    """Between bands, pixel by pixel."""
    found = {}
    for one, other in PAIRS:
        a, b = (pixels[CHANNELS.index(band)][inside] for band in (one, other))
        found[f"{one} {other}"] = float(np.corrcoef(a, b)[0, 1])
    return found


def roughness(pixels: Float32, inside: NDArray[np.bool_]) -> Mapping[str, float]:
    """Texture at three scales, by band."""
    found = {}
    for band in TEXTURED:
        values = textures(pixels[CHANNELS.index(band)], inside)
        for scale, value in zip(("fine", "medium", "coarse"), values, strict=True):
            found[f"{band} {scale}"] = value
    return found


MEASURES: Mapping[str, tuple[Measure, str]] = {
    "Mean": (means, ".0f"),
    "Spread": (spreads, ".2f"),
    "Correlation": (correlations, ".2f"),
    "Texture": (roughness, ".3f"),
}


SHORT = {
    "Mean": ("B02", "B04", "B08", "B11", "VV", "VH"),
    "Spread": ("B04", "B08", "B11", "VH"),
    "Correlation": ("B03 B04", "B04 B08", "B04 B11", "B08 B11", "VV VH"),
    "Texture": tuple(
        f"{band} {scale}" for band in ("B04", "B08", "VH") for scale in ("fine", "medium", "coarse")
    ),
}
"""What docs/simulator.md shows; --all shows everything."""


def report(real: Sequence[Tile], made: Sequence[Tile], *, everything: bool) -> str:
    """One table per class: real tiles one by one, the simulated ones' 10th, 50th and 90th percentile."""
    lines = []
    for number, name in enumerate(("whole tile", *CLASSES)):
        seen = [tile for tile in real if _counts(tile, number)]
        simulated = [tile for tile in made if _counts(tile, number)]
        if not seen or not simulated:
            continue
        heads = " | ".join(tile.name for tile in seen)
        lines += ["", f"### {name}", "", f"| | {heads} | {len(simulated)} simulated: p10, median, p90 |"]
        lines.append("|---|" + "---|" * (len(seen) + 1))
        for kind, (measure, digits) in MEASURES.items():
            theirs, ours = (
                [measure(tile.pixels, _inside(tile, number)) for tile in t] for t in (seen, simulated)
            )
            for row in ours[0] if everything else SHORT[kind]:
                lines.append(_row(f"{kind.lower()} {row}", row, theirs, ours, _digits(kind, row, digits)))
    return "\n".join(lines)


def _row(
    title: str,
    row: str,
    theirs: Sequence[Mapping[str, float]],
    ours: Sequence[Mapping[str, float]],
    digits: str,
) -> str:
    real = " | ".join(f"{values[row]:{digits}}" for values in theirs)
    low, middle, high = np.percentile([values[row] for values in ours], (10, 50, 90))
    return f"| {title} | {real} | {low:{digits}}, {middle:{digits}}, {high:{digits}} |"


def _digits(kind: str, row: str, digits: str) -> str:
    return ".1f" if kind == "Mean" and row in ("VV", "VH") else digits


def _inside(tile: Tile, number: int) -> NDArray[np.bool_]:
    return tile.classes == number if number else np.ones(tile.classes.shape, np.bool_)


def _counts(tile: Tile, number: int) -> bool:
    return int(_inside(tile, number).sum()) >= LEAST


POINT_CLASSES = {"trees": (1,), "range": (2, 5), "crops": (4,), "bare": (7,), "water": (0,)}
"""Class -> its numbers in the points' land cover (Dynamic World)."""
POINT_BANDS = {"B8": "B08", "B11": "B11", "B12": "B12", "VV": "VV", "VH": "VH"}
"""The points' visible bands are top of atmosphere: only what air hardly touches is compared."""
HAZY = 1500.0
"""Blue above this is cloud, haze or snow in a point."""


def points_report(folder: Path, made: Sequence[Tile]) -> str:
    """Presto's points beside simulated pixels: 10th, 50th and 90th percentile per class and band."""
    bands = list(POINT_BANDS)
    lines = ["", "### Presto points, 10th / 50th / 90th percentile", ""]
    lines += [f"| class | | {' | '.join(bands)} |", "|---|---|" + "---|" * len(bands)]
    for name, codes in POINT_CLASSES.items():
        points = _points(folder, codes)
        number = list(CLASSES).index(name) + 1
        pixels = np.concatenate([tile.pixels[:, tile.classes == number][:, ::29] for tile in made], axis=1)
        pixels[:12] = (np.exp(pixels[:12]) - 0.01) * 1e4
        rows = [CHANNELS.index(band) for band in POINT_BANDS.values()]
        lines.append(f"| {name} | {points.shape[1]} real | {_percentiles(points)} |")
        lines.append(f"| | simulated | {_percentiles(pixels[rows])} |")
    return "\n".join(lines)


def _points(folder: Path, codes: tuple[int, ...]) -> Float32:
    """(bands, points) of all months that are clear."""
    found = []
    for name in ("fuel_moisture", "algae_blooms"):
        with np.load(folder / "presto_s1s2_points" / f"{name}.npz") as data:
            names = [str(band) for band in data["bands"]]
            values, cover = data["x"], data["dynamic_world"]
        clear = np.isin(cover, codes) & (values[..., names.index("B2")] < HAZY)
        clear &= values[..., names.index("VV")] != 0
        found.append(values[clear][:, [names.index(band) for band in POINT_BANDS]].T)
    return np.concatenate(found, axis=1)


def _percentiles(values: Float32) -> str:
    cells = []
    for band, row in zip(POINT_BANDS, values, strict=True):
        digits = ".1f" if band in ("VV", "VH") else ".0f"
        cells.append(" / ".join(f"{value:{digits}}" for value in np.percentile(row, (10, 50, 90))))
    return " | ".join(cells)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="simulated places")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--all", action="store_true", help="every band, pair and scale")
    chosen = parser.parse_args()
    recipe = Recipe(size=TRAIN.size, climates=CLIMATES[:3] + CLIMATES[4:6], guests=0.0)
    made = list(simulated_tiles(recipe, seed=chosen.seed, count=chosen.count))
    print(report(list(real_tiles(data_folder())), made, everything=chosen.all))
    print(points_report(data_folder(), made))


if __name__ == "__main__":
    main()
