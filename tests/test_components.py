"""What stands on an incident's ground: how looks are mapped, which of them count, what is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from detector.cards import Card, Condition, NetworkCard
from detector.components import ComponentMaps, choose_mapper, name_components
from detector.ledger import Ledger
from detector.looking import Look
from detector.models import load_cards, shipped_cards
from detector.products import UNSEEN, Layer, pass_tags, write_products
from detector.rasters import Style, encode_cog
from detector.state import source_name
from registry.blobs import Blobs, open_blobs
from registry.chips import MINE_COMPONENTS
from registry.detection import ComponentSettings, DetectionSettings, ModelSettings
from registry.errors import ConfigError, Reject
from registry.models import Components, ComponentShare, Growth, Incident, IncidentStatus, Pictures, Sensor
from tests.small_networks import BANDS, image
from tests.storage_samples import START, make_pass
from tests.test_looking import cards, looked, task
from tests.test_looking import put as put_band
from tests.test_pictures import told
from tests.test_products import AREA, FOREST, GRID, blobs, ledger_of, row_of, some_state

__all__ = ["blobs", "cards"]

SIDE = 96
SETTINGS = ComponentSettings(models=("shared",), looks=3, min_share=0.1)


pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- which model


def test_the_cards_that_settings_name_are_shipped_and_need_no_band_of_their_own() -> None:
    shipped = load_cards([shipped_cards()])
    settings = DetectionSettings()
    read = {"B02", "B03", "B04"}  # of previews
    read |= {band for name in settings.models.transformed for band in shipped[name].bands}
    for name in settings.components.models:
        card = choose_mapper(shipped, (name,), shipped[name].bands)
        assert set(card.bands) <= read
        assert set(MINE_COMPONENTS) <= {label for head in card.heads for label in head.labels}


def test_a_card_without_mining_components_is_refused() -> None:
    shipped = load_cards([shipped_cards()])
    with pytest.raises(ConfigError, match="'forest-spectral-swir' has no mining component"):
        choose_mapper(shipped, ("forest-spectral-swir",), BANDS)
    with pytest.raises(ConfigError, match="'nothing' does not exist"):
        choose_mapper(shipped, ("nothing",), BANDS)
    with pytest.raises(Reject, match="lacks B11"):
        choose_mapper(shipped, ("mining-rgbnir-swir",), {"B02", "B03", "B04", "B08"})


# ---------------------------------------------------------------- mapping a look


def mapping(folder: Path, cards: dict[str, Card], *models: str) -> tuple[Any, Blobs, dict[str, Any]]:
    """(the task, where its look left its blobs, the truth) with these cards allowed."""
    bands, truth = image((SIDE, SIDE), seed=41)
    plain = task(folder, bands)
    settings = plain.settings.model_copy(update={"components": ComponentSettings(models=models)})
    return plain.model_copy(update={"settings": settings}), open_blobs(f"file://{folder / 'blobs'}"), truth


def test_every_optical_look_leaves_a_map_with_a_band_per_head(tmp_path: Path, cards: dict[str, Card]) -> None:
    found, at, truth = mapping(tmp_path, cards, "shared")
    look = looked(found, cards, at)
    assert not [note for note in look.notes if "components" in note]
    maps = ComponentMaps.of(at, found, cards)
    name = maps.name(found.pass_.name)
    with rasterio.open(at.path(name)) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.descriptions == ("works",)  # heads of targets are no components
        assert file.nodata == UNSEEN
        assert json.loads(file.tags()["labels"]) == {"works": ["excavation", "infrastructure"]}
        assert file.tags()["model"] == "shared"
        assert file.tags()["pass"] == found.pass_.name
        codes = file.read(1)
    seen = codes != UNSEEN
    assert seen.mean() > 0.9
    assert (codes == truth["works"])[seen].mean() > 0.9
    before = at.get(name)
    looked(found, cards, at)
    assert at.get(name) == before


def test_other_cards_or_another_grid_are_other_maps(tmp_path: Path, cards: dict[str, Card]) -> None:
    found, at, _ = mapping(tmp_path, cards, "shared")
    first = ComponentMaps.of(at, found, cards).name("p")
    wider = found.grid.model_copy(update={"width": found.grid.width + 1})
    assert ComponentMaps.of(at, found.model_copy(update={"grid": wider}), cards).name("p") != first
    assert isinstance(cards["shared"], NetworkCard)
    retrained = {
        **cards,
        "shared": cards["shared"].model_copy(update={"temperature": {"works": {Condition.FRESH: 2.0}}}),
    }
    assert ComponentMaps.of(at, found, retrained).name("p") != first


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (("mining-msi",), "components not mapped: no model fits the bands"),
        (("lost",), "components not mapped: model card 'lost' does not exist"),
    ],
)
def test_without_a_card_that_fits_detection_goes_on_and_says_so(
    tmp_path: Path, cards: dict[str, Card], models: tuple[str, ...], said: str
) -> None:
    found, at, _ = mapping(tmp_path, cards, *models)
    look = looked(found, cards, at)
    assert set(look.rows) == set(found.area.targets)
    assert look.notes[-1].startswith(said)
    assert not at.exists(ComponentMaps.of(at, found, cards).name(found.pass_.name))


def test_for_a_map_alone_no_band_is_fetched_unless_asked_for(tmp_path: Path, cards: dict[str, Card]) -> None:
    found, at, _ = mapping(tmp_path, cards, "shared")
    lean = ModelSettings(transformed=("transformed-spectral-rgbnir",), forest=("forest-spectral-rgbnir",))
    name = ComponentMaps.of(at, found, cards).name(found.pass_.name)

    def look(*, extra: bool) -> Look:
        wish = ComponentSettings(models=("shared",), extra_bands=extra)
        settings = found.settings.model_copy(update={"models": lean, "components": wish})
        return looked(found.model_copy(update={"settings": settings}), cards, at)

    plain = look(extra=False)
    assert "lacks B11" in plain.notes[-1]
    assert not at.exists(name)
    with rasterio.open(tmp_path / "B11.tif", "r+") as file:
        holed = file.read(1)
        holed[:40] = file.nodata
        file.write(holed, 1)
    mapped = look(extra=True)
    assert at.exists(name)
    for target, row in mapped.rows.items():  # a gap in what only the map needs hides nothing
        assert np.array_equal(row.weight, plain.rows[target].weight)
        assert np.array_equal(row.score, plain.rows[target].score)


def test_a_look_through_cloud_alone_is_not_mapped(tmp_path: Path, cards: dict[str, Card]) -> None:
    found, at, _ = mapping(tmp_path, cards, "shared")
    hidden = {name: np.full((SIDE, SIDE), 0.9, np.float32) for name in BANDS}
    for name, band in hidden.items():
        put_band(tmp_path / f"{name}.tif", band)
    look = looked(found, cards, at)
    assert look.clear_fraction == 0.0
    assert not at.exists(ComponentMaps.of(at, found, cards).name(found.pass_.name))


def test_the_map_is_an_asset_of_the_pass(blobs: Blobs) -> None:
    one = make_pass(3)
    maps = maps_of(blobs)
    put(maps, 3, {"excavation": 0.5})
    name = write_products(
        blobs, one, GRID, AREA, {FOREST: Layer(some_state(), "d")}, components=maps.name(one.name)
    )
    asset = json.loads(blobs.get(name))["assets"]["components"]
    assert asset["title"] == "Mining components by the model shared"
    works, water = asset["bands"]
    assert works["name"] == "works"
    assert works["classification:classes"][1] == {"value": 1, "name": "excavation"}
    assert [one["name"] for one in water["classification:classes"]] == ["background", "settling_pond"]
    path = Path(blobs.path(name.rpartition("/")[0])) / asset["href"]
    assert path.resolve().read_bytes() == blobs.get(maps.name(one.name))
    blobs.create(maps.name(make_pass(5).name), b"no raster")
    for day, there in ((4, ""), (5, maps.name(make_pass(5).name))):
        without = write_products(
            blobs, make_pass(day), GRID, AREA, {FOREST: Layer(some_state(), "d")}, components=there
        )
        assert "components" not in json.loads(blobs.get(without))["assets"]


# ---------------------------------------------------------------- naming an incident

HEADS = {"works": ["excavation", "infrastructure"], "water": ["settling_pond"]}
FOOTPRINT = (400_300, 5_009_600, 400_400, 5_009_700)
"""Ten by ten pixels of the grid: rows 30 to 39, columns 30 to 39."""


def maps_of(where: Blobs, **changes: Any) -> ComponentMaps:
    return ComponentMaps(where, "pit", GRID, SETTINGS.model_copy(update=changes), "basis123")


def put(
    maps: ComponentMaps, day: int, shares: dict[str, float], *, model: str = "shared", unseen: int = 5
) -> None:
    """A map in which the first rows of the footprint, as far as the share goes, are of a component."""
    bands = np.zeros((len(HEADS), *GRID.shape), np.uint8)
    for number, labels in enumerate(HEADS.values()):
        for code, label in enumerate(labels, start=1):
            bands[number, 30 : 30 + round(10 * shares.get(label, 0.0)), 30:40] = code
    bands[:, :unseen] = UNSEEN
    tags = {**pass_tags(make_pass(day)), "model": model, "labels": json.dumps(HEADS)}
    style = Style(names=tuple(HEADS), nodata=UNSEEN, overviews="mode")
    maps.blobs.create(maps.name(make_pass(day).name), encode_cog(bands, GRID, style, tags=tags))


def look(ledger: Ledger, day: int, *, weight: int = 2, sensor: Sensor = Sensor.S2) -> None:
    one = make_pass(day, sensor=sensor)
    ledger.write(one, GRID, replace(row_of(one, weight=weight), source=source_name(sensor, "card", 7)))


def changed(**changes: Any) -> Incident:
    first = (START + timedelta(days=10)).date()
    step = Growth(acquired=first, hectares=1.0)
    footprint = GRID.to_world(shapely.box(*FOOTPRINT))
    return told(first_seen=first, growth=(step,), confirmed_on=first, footprint=footprint, **changes)


def named(maps: ComponentMaps, ledger: Ledger, one: Incident | None = None) -> Components | None:
    (found,) = name_components([one or changed()], maps=maps, ledger=ledger, entries=ledger.entries())
    return found.components


def test_shares_are_means_of_the_newest_clear_looks_since_the_change(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs), ledger_of(blobs)
    for day, share in (
        (5, 1.0),
        (12, 1.0),
        (20, 0.4),
        (30, 0.5),
        (50, 0.6),
    ):  # 5: before the change; 12: a fourth
        look(ledger, day)
        put(maps, day, {"excavation": share, "settling_pond": 0.2 if day == 50 else 0.1})
    look(ledger, 40, weight=0)
    put(maps, 40, {"infrastructure": 1.0})
    look(ledger, 55, sensor=Sensor.S1)
    look(ledger, 60)  # not mapped
    look(ledger, 65)
    put(maps, 65, {}, unseen=35)  # a band is missing over half of it
    found = named(maps, ledger)
    assert found == Components(
        model="shared",
        looks=3,
        newest=(START + timedelta(days=50)).date(),
        shares=(
            ComponentShare(component="excavation", share=0.5),
            ComponentShare(component="settling_pond", share=0.13),
        ),
    )


def test_what_covers_too_little_is_not_named_and_nothing_is_an_answer(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs, min_share=0.3), ledger_of(blobs)
    look(ledger, 20)
    put(maps, 20, {"excavation": 0.2})
    found = named(maps, ledger)
    assert found is not None
    assert (found.looks, found.shares) == (1, ())


def test_outside_of_the_grid_nobody_looked(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs), ledger_of(blobs)
    look(ledger, 20)
    put(maps, 20, {"excavation": 0.2})
    elsewhere = GRID.to_world(shapely.box(500_000, 5_009_600, 500_100, 5_009_700))
    assert named(maps, ledger, changed().model_copy(update={"footprint": elsewhere})) is None


def test_a_model_that_went_is_not_averaged_with_the_one_that_came(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs), ledger_of(blobs)
    for day, model in ((20, "shared"), (30, "newer")):
        look(ledger, day)
        put(maps, day, {"excavation": 1.0 if model == "shared" else 0.5}, model=model)
    found = named(maps, ledger)
    assert found is not None
    assert (found.model, found.looks, found.shares[0].share) == ("newer", 1, 0.5)


def test_a_damaged_map_is_left_out(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs), ledger_of(blobs)
    for day in (20, 30):
        look(ledger, day)
    put(maps, 20, {"excavation": 0.7})
    blobs.create(maps.name(make_pass(30).name), b"no raster")
    found = named(maps, ledger)
    assert found is not None
    assert (found.looks, found.shares[0].share) == (1, 0.7)


def test_only_confirmed_incidents_with_news_are_named(blobs: Blobs) -> None:
    maps, ledger = maps_of(blobs), ledger_of(blobs)
    look(ledger, 20)
    put(maps, 20, {"excavation": 0.7})
    known = Components(model="shared", looks=1, newest=START.date())
    quiet = Pictures(
        side_by_side="pictures/one/r001-x.png", after_acquired=(START + timedelta(days=20)).date()
    )
    assert named(maps, ledger, changed(pictures=quiet, components=known)) == known
    assert named(maps, ledger, changed(status=IncidentStatus.RECLAIMED, components=known)) == known
    assert named(maps, ledger, changed(status=IncidentStatus.PROVISIONAL)) is None
    fresh = named(maps, ledger, changed(components=known))
    assert fresh is not None
    assert fresh.shares[0].component == "excavation"
