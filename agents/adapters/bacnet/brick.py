"""The point list as a Brick model: a Turtle file for each archetype, by `python -m agents bms-points PLANT --brick`.

The shipped files lie in `brick_models/` beside this module; a test compares. All classes are in Brick 1.3 and in 1.4.
"""

from __future__ import annotations

from pathlib import Path

from agents.adapters.bacnet.points import equipment, points
from gcn_env.scenario.plants import archetype

FOLDER = Path(__file__).parent / "brick_models"
_PREFIXES = {
    "": "urn:gcn:plant:{plant}#",
    "bacnet": "http://data.ashrae.org/bacnet/2020#",
    "brick": "https://brickschema.org/schema/Brick#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "ref": "https://brickschema.org/schema/Brick/ref#",
    "unit": "http://qudt.org/vocab/unit/",
}
_UNITS = {"degC": "DEG_C", "kW": "KiloW", "s": "SEC", "1": "UNITLESS"}


def turtle(plant: str) -> str:
    """The Brick model of an archetype.

    Raises:
        UserError: for an unknown archetype.
    """
    has, rows = equipment(plant), points(plant)
    lines = [f"@prefix {k}: <{v.format(plant=plant)}> ." for k, v in _PREFIXES.items()]
    lines += [
        "",
        f"# Plant {plant}: {archetype(plant)['name']}.",
        f"# Written by: python -m agents bms-points {plant} --brick",
        "",
        ":device a bacnet:BACnetDevice ;",
        f'    rdfs:label "plant {plant}" .',
    ]
    for key, brick in has.items():
        mine = [f":{p.name}" for p in rows if p.of == key]
        lines += ["", f":{key} a brick:{brick} ;"]
        lines += [f"    brick:hasPoint {(',' + chr(10) + ' ' * 8).join(mine)} ;"] if mine else []
        lines += [f'    rdfs:label "{key}" .']
    for p in rows:
        unit = f" ;\n    brick:hasUnit unit:{_UNITS[p.unit]}" if p.unit in _UNITS else ""
        lines += ["", f":{p.name} a brick:{p.brick} ;", f'    rdfs:label "{p.doc}"{unit} ;',
                  "    ref:hasExternalReference [ a ref:BACnetReference ;",
                  f'        bacnet:object-identifier "{p.kind},{p.instance}" ;',
                  f'        bacnet:object-name "{p.name}" ;', "        bacnet:objectOf :device ] ."]  # fmt: skip
    return "\n".join(lines) + "\n"
