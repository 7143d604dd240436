"""What a bundle says of itself: `manifest.json`, checked against a strict schema, and its signature.

A bundle is a folder of four plain files, written by `python -m agents export`:

    manifest.json   this document            policy.onnx     the graph: scaling, masks and choices inside
    golden.f32      recorded observations    manifest.sig    optional: Ed25519 over the bytes of manifest.json
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gcn_env.action import REGION_HEADS
from gcn_env.errors import UserError
from gcn_env.observation import TABLES
from gcn_env.tables import first_difference, to_list

FORMAT = "gcn-policy-bundle/1"
MANIFEST, GRAPH, GOLDEN, SIGNATURE = "manifest.json", "policy.onnx", "golden.f32", "manifest.sig"
OPSET = 20  # of every exported graph; the loader takes no other
INPUTS = ("jobs", "pools", "regions", "pairs", "globals", "mask_placement", "mask_cooling")
OUTPUTS = ("actions", "placement", "cooling", "value", "choices")
SEQUENTIAL_INPUTS = ("jobs", "pools", "regions", "pairs", "globals", "mask", "head")
SEQUENTIAL_OUTPUTS = ("actions", "scores", "value")
TOLERANCE = 1e-5  # greatest difference to torch, over the larger of 1 and the logit


class BundleError(UserError):
    """A bundle that is refused, with the reason and a remedy."""


class Strict(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(Strict):
    """One file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1)


class Column(Strict):
    """A column of the observation: name, unit, bounds."""

    name: str = Field(max_length=80)
    unit: str = Field(max_length=80)
    low: float
    high: float


class HeadLimit(Strict):
    """What one head of one kind of plant may do: range of its levels and greatest change a minute."""

    plant: Literal["a", "b", "c", "d", "e", "f", "g"]
    head: str = Field(max_length=20)
    meaning: str = Field(max_length=200)
    unit: str = Field(max_length=20)
    low: float
    high: float
    rate_per_min: float = Field(gt=0)


class Choice(Strict):
    """A row of the action table."""

    head: str = Field(max_length=20)
    meaning: str = Field(max_length=300)


class Parity(Strict):
    """How the graph was compared with torch at export."""

    observations: int = Field(ge=1)
    worst: float = Field(ge=0, le=TOLERANCE)
    equal_decisions: int = Field(ge=1)
    decisions: int = Field(ge=1)
    scenario: str = Field(max_length=200)


class Golden(Strict):
    """Recorded observations: sizes of the batch, and the SHA-256 of the decisions (little-endian int64)."""

    batch: int = Field(ge=1, le=256)
    slots: int = Field(ge=1, le=4096)
    pools: int = Field(ge=1, le=4096)
    regions: int = Field(ge=1, le=512)
    actions_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Strict):
    """The whole document."""

    format: Literal["gcn-policy-bundle/1"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$")
    view: Literal["joint", "sequential"]
    levels: int = Field(ge=2, le=64)
    opset: Literal[20]
    operators: tuple[str, ...] = Field(max_length=100)
    files: dict[str, FileEntry]
    spaces: str = Field(pattern=r"^[0-9a-f]{12}$")
    observation: dict[str, tuple[Column, ...]]
    choices: tuple[Choice, ...] = Field(max_length=100)
    limits: tuple[HeadLimit, ...] = Field(max_length=100)
    envelope: dict[str, tuple[tuple[float, float], ...]]
    training: dict[str, Any]
    versions: dict[str, str]
    parity: Parity
    golden: Golden


def spaces_fingerprint() -> str:
    """Twelve hex digits over the layouts of observation and action: equal spaces have equal fingerprints."""
    text = "|".join(t.fingerprint for t in (*TABLES, REGION_HEADS))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def layout() -> dict[str, list[dict[str, Any]]]:
    """The observation's columns as plain values."""
    return {table.name: to_list(table) for table in TABLES}


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def parse_manifest(raw: bytes) -> Manifest:
    """A manifest from the bytes of its file.

    Raises:
        BundleError: for anything but a JSON object of the schema, of this version's layout.
    """
    try:
        document = json.loads(raw, object_pairs_hook=_no_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is no JSON document: {error}; export the policy again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise BundleError(f"{MANIFEST} has format {found!r:.80}; this version reads {FORMAT!r}")
    try:
        manifest = Manifest.model_validate(document)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{MANIFEST}: {place}: {first['msg']:.200}; export the policy again") from None
    _check_layout(manifest)
    return manifest


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _check_layout(manifest: Manifest) -> None:
    for table in TABLES:
        rows = [c.model_dump() for c in manifest.observation.get(table.name, ())]
        difference = first_difference(table, rows)
        if difference is not None:
            raise BundleError(f"the bundle was made for another observation: {difference}; export it again")
    for table in TABLES:
        if len(manifest.envelope.get(table.name, ())) != len(table):
            raise BundleError(
                f"the bundle's envelope of {table.name} has not one range a column: export it again"
            )
    extra = set(manifest.observation) - {t.name for t in TABLES}
    if extra:
        raise BundleError(f"the bundle's observation has tables {sorted(extra)}, which are not known here")
    if manifest.spaces != spaces_fingerprint():
        raise BundleError(
            f"the bundle was made for spaces {manifest.spaces}; this version has {spaces_fingerprint()}: "
            "export it again"
        )
