"""The point list: one table, every archetype, and Brick files that follow it."""

import json

import pytest

from agents.adapters.bacnet.brick import FOLDER, turtle
from agents.adapters.bacnet.points import HEADS, UNITS, located, page, points
from agents.bundle.limits import limits
from gcn_env.errors import UserError
from gcn_env.scenario.plants import archetypes
from gcn_env.snapshot.readings import REGIONS


@pytest.mark.parametrize("plant", archetypes())
def test_every_plant_has_its_heads_and_its_readings(plant):
    found = points(plant)
    assert len({p.name for p in found}) == len(found)
    assert len({(p.kind, p.instance) for p in found}) == len(found)
    there = [x.head for x in limits(plant) if x.high > x.low and x.head in HEADS]
    assert [p.head for p in found if p.role == "setpoint"] == there
    units = {row.name: row.unit for row in REGIONS.rows}
    heads = {x.head: x.unit for x in limits(plant)}
    for p in found:
        assert p.unit in UNITS
        if p.head:  # the unit of flow and rejection follows the plant
            assert p.unit == heads[p.head]
        elif p.reading:
            assert p.unit == units[p.reading], p
    carried = [p.reading for p in found if p.reading]
    assert len(set(carried)) == len(carried)
    for reading in ("dry", "inlet", "hottest", "supply", "return_air", "cold_command", "cold_actual"):
        assert reading in carried


@pytest.mark.parametrize("plant", archetypes())
def test_brick_models_are_those_of_the_table(plant):
    shipped = (FOLDER / f"{plant}.ttl").read_text()
    assert shipped == turtle(plant), f"write it again: python -m agents bms-points {plant} --brick"
    for p in points(plant):
        assert f'bacnet:object-identifier "{p.kind},{p.instance}"' in shipped


def test_brick_models_are_turtle_and_whole():
    rdflib = pytest.importorskip("rdflib")
    brick = rdflib.Namespace("https://brickschema.org/schema/Brick#")
    for plant in archetypes():
        graph = rdflib.Graph().parse(FOLDER / f"{plant}.ttl")
        owned = set(graph.objects(None, brick.hasPoint))
        assert len(owned) == len(points(plant))
        assert all(graph.value(point, rdflib.RDF.type) is not None for point in owned)


def test_a_site_has_numbers_of_its_own(tmp_path):
    where = {"supply-air-temperature-setpoint": "analog-output,3001", "hottest-rack-inlet": "analog-input,17"}
    path = tmp_path / "objects.json"
    path.write_text(json.dumps(where))
    assert {p.name: f"{p.kind},{p.instance}" for p in located("b", path)} == where
    for bad, word in (
        ({"supply-air-temp": "analog-input,1"}, "supply-air-temperature"),
        ({"hottest-rack-inlet": "17"}, "analog-input,3001"),
        ({"hottest-rack-inlet": "analog-input,17"}, "no set-point"),
        ([1], "wanted an object"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(UserError, match=word):
            located("b", path)
    with pytest.raises(UserError, match="objects"):
        located("b", tmp_path / "none.json")
    with pytest.raises(UserError, match="plants: a, b"):
        points("z")


def test_the_page_lists_every_point():
    shown = page("d")
    assert all(f"`{p.name}`" in shown for p in points("d"))
