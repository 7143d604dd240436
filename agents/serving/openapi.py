"""The OpenAPI document of the server, from the tables that the code itself reads."""

from __future__ import annotations

from functools import cache
from typing import Any

from gcn_env.core.params import CLASSES
from gcn_env.snapshot.document import STATUS, TRUST_NAMES
from gcn_env.snapshot.parse import KEYS
from gcn_env.snapshot.readings import FORMAT, JOBS, LINKS, POOLS, REGIONS
from gcn_env.tables import Table

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_JOB = {"$ref": "#/components/schemas/Job"}
_ERRORS = {
    "400": "not JSON, or none of this protocol", "401": "no token, or a wrong one", "408": "the body came too slowly",
    "413": "the body is too large", "415": "compressed bodies are not taken", "422": "the content is refused",
    "429": "too many requests", "503": "no snapshot yet, or the server shuts down",
}  # fmt: skip


def _object(
    properties: dict[str, Any], required: tuple[str, ...] = (), closed: bool = True
) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _numbers(table: Table) -> dict[str, Any]:
    return {r.name: {"type": ["number", "null"], "description": f"{r.doc} [{r.unit}]"} for r in table.rows}


def _job() -> dict[str, Any]:
    names = {
        "id": {"type": "string", "minLength": 1, "maxLength": 200}, "class": {"enum": list(CLASSES)},
        "source": _TEXT, "tenant": _TEXT, "status": {"enum": list(STATUS[1:])}, "origin": _TEXT, "data_at": _TEXT,
        "pool": {"type": ["string", "null"]}, "jurisdictions": {"oneOf": [{"const": "any"}, _TEXTS]},
        "trust": {"enum": list(TRUST_NAMES)}, "shown_step": {"type": ["integer", "null"]},
    }  # fmt: skip
    numbers = _numbers(JOBS) | {"checkpoint": {"oneOf": [{"type": ["number", "null"]}, {"const": "never"}]}}
    return _object(names | numbers, ("id", "class", "origin", "jurisdictions", "trust", "gang", "work"))


def _snapshot() -> dict[str, Any]:
    time = {
        "oneOf": [
            {"type": "string", "format": "date-time"},
            _object(
                {"hour_of_year": {"type": "number"}, "hours_in_year": {"enum": [8760, 8784]},
                 "weekday_of_1_january": {"type": "integer", "minimum": 0, "maximum": 6}},
                ("hour_of_year", "hours_in_year", "weekday_of_1_january"),
            ),
        ]
    }  # fmt: skip
    units = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _TEXT}}
    link = _object({"from": _TEXT, "to": _TEXT, **_numbers(LINKS)}, ("from", "to"))
    named = {
        "format": {"const": FORMAT}, "time": time, "step": {"type": ["integer", "null"], "minimum": 0}, "units": units,
        "regions": {"type": "object", "additionalProperties": _object(_numbers(REGIONS))},
        "pools": {"type": "object", "additionalProperties": _object(_numbers(POOLS))},
        "links": {"type": ["array", "null"], "items": link}, "jobs": {"type": "array", "items": _JOB},
        "placed": {"type": ["object", "null"], "additionalProperties": _TEXT},
        "slots": {"type": ["array", "null"], "items": {"type": ["string", "null"]}},
    }  # fmt: skip
    assert set(named) == set(KEYS)
    return _object(named, ("format", "time", "units", "jobs"))


def _extender() -> dict[str, Any]:
    free = {"type": "object"}
    return _object(
        {"Pod": free, "Nodes": {"type": ["object", "null"]}, "NodeNames": {"type": ["array", "null"], "items": _TEXT}},
        ("Pod",), closed=False,
    )  # fmt: skip


def _infer() -> dict[str, Any]:
    tensor = _object(
        {"name": _TEXT, "datatype": {"const": "FP32"},
         "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
         "data": {"type": "array"}, "parameters": {"type": "object"}},
        ("name", "datatype", "shape"), closed=False,
    )  # fmt: skip
    return _object({"id": _TEXT, "inputs": {"type": "array", "items": tensor}}, ("inputs",), closed=False)


def _operation(
    summary: str, ok: str, body: str | None, errors: tuple[str, ...], secure: bool = True
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": ok, "content": {"application/json": {"schema": {}}}},
            **{code: {"description": _ERRORS[code]} for code in errors},
        },
    }
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    found["security"] = [{"bearer": []}] if secure else []
    return found


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    from importlib.metadata import version

    usual = ("400", "401", "408", "413", "415", "422", "429")
    plain = ("401", "429")
    deadline = {
        "name": "X-Deadline-Ms", "in": "header", "required": False, "schema": {"type": "number", "minimum": 0},
        "description": "ms within which the policy must answer; else a rule does",
    }  # fmt: skip

    def timed(operation: dict[str, Any]) -> dict[str, Any]:
        return operation | {"parameters": [deadline]}

    ask = _object(
        {"job": {"oneOf": [_TEXT, _JOB]}, "candidates": {"type": ["array", "null"], "items": _TEXT},
         "units": {"type": "object"}}, ("job",),
    )  # fmt: skip
    where = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    paths = {
        "/v1/snapshot": {
            "put": _operation("Telemetry: the fleet as it is now", "what is unknown", "Snapshot", usual),
            "get": _operation(
                "What is known of the fleet", "age, unknown readings, who decides", None, plain
            ),
        },
        "/v1/score": {
            "post": timed(
                _operation(
                    "Score candidate pools for one job", "scores and the choice", "Ask", (*usual, "503")
                )
            )
        },
        "/v1/place": {
            "post": timed(
                _operation("Place the jobs in slots", "a pool or null for each", None, (*usual, "503"))
            )
        },
        "/v1/setpoints": {
            "post": timed(
                _operation("Set-points of all plants", "targets and what to write now", None, (*usual, "503"))
            )
        },
        "/v1/reload": {"post": _operation("Take the bundle again", "its digest", None, (*usual, "503"))},
        "/k8s/filter": {
            "post": timed(
                _operation(
                    "Scheduler extender v1 filter", "ExtenderFilterResult", "ExtenderArgs", (*usual, "503")
                )
            )
        },
        "/k8s/prioritize": {
            "post": timed(
                _operation(
                    "Scheduler extender v1 prioritize", "HostPriorityList", "ExtenderArgs", (*usual, "503")
                )
            )
        },
        "/skypilot": {
            "post": timed(
                _operation("SkyPilot's RESTful admin policy", "its task, narrowed", "SkyPilot", usual)
            )
        },
        "/v2": {"get": _operation("Server metadata", "name, version, extensions", None, plain)},
        "/v2/models/{name}": {
            "get": _operation("Model metadata", "inputs and outputs", None, (*plain, "404"))
        },
        "/v2/models/{name}/infer": {
            "post": _operation("Inference, without guards", "output tensors", "Infer", (*usual, "404"))
        },
        "/livez": {"get": _operation("Whether the process answers", "it does", None, ("429",), secure=False)},
        "/readyz": {"get": _operation("Whether it can decide", "it can", None, ("429", "503"), secure=False)},
    }
    for path in ("/v2/models/{name}", "/v2/models/{name}/infer"):
        for operation in paths[path].values():
            operation["parameters"] = [where]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Global Compute Network policy server", "version": version("gcn-env")},
        "paths": paths,
        "components": {
            "schemas": {
                "Job": _job(),
                "Snapshot": _snapshot(),
                "Ask": ask,
                "ExtenderArgs": _extender(),
                "Infer": _infer(),
                "SkyPilot": {
                    "type": "string",
                    "description": "JSON of a request, with task and skypilot_config",
                },
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


_ERRORS["404"] = "no such model"
