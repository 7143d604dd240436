"""From a YAML file (or the name of a shipped scenario) to a checked `Scenario`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from gcn_env.errors import UserError, nearest
from gcn_env.scenario import random_plants
from gcn_env.scenario.schema import Scenario

MAX_PARENTS = 8


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loader that refuses a key given twice."""


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    keys = [loader.construct_object(k, deep=True) for k, _ in node.value]
    twice = sorted({str(k) for k in keys if keys.count(k) > 1})
    if twice:
        raise UserError(
            f"{node.start_mark.name}, line {node.start_mark.line + 1}: keys given twice: {', '.join(twice)}"
        )
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def shipped_dirs() -> list[Path]:
    """Folders in which scenario names are looked up: the checkout's, then the installed package's."""
    here = Path(__file__).resolve().parent.parent
    return [here.parent / "configs" / "scenarios", here / "configs" / "scenarios"]


def shipped() -> dict[str, Path]:
    """Name -> file of every scenario that comes with the project."""
    found: dict[str, Path] = {}
    for folder in shipped_dirs():
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find(name: str | Path) -> Path:
    """File of a scenario given by path or by shipped name.

    Raises:
        UserError: if there is none; names the shipped ones and the nearest.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        if path.stem in shipped():  # configs/scenarios/x.yaml also works from an installed package
            return shipped()[path.stem]
        raise UserError(
            f"no scenario file {path}{nearest(path.stem, shipped())} (shipped: {', '.join(shipped())})"
        )
    if str(name) in shipped():
        return shipped()[str(name)]
    raise UserError(
        f"no scenario named {name!r}{nearest(str(name), shipped())} (shipped: {', '.join(shipped())})"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file holding a mapping.

    Raises:
        UserError: if it cannot be read or parsed, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    try:
        data = yaml.load(text, _Loader)  # _Loader is a safe loader
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds {type(data).__name__}, not a mapping of settings")
    return data


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; mappings are merged, a null removes the key."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def _with_parents(path: Path, chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in chain or len(chain) >= MAX_PARENTS:
        raise UserError(f"{path}: 'extends' goes round in a circle or is deeper than {MAX_PARENTS}")
    data = read_yaml(path)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if not isinstance(parent, str):
        raise UserError(
            f"{path}: extends is {parent!r}; give the name of one scenario (shipped: {', '.join(shipped())})"
        )
    beside = path.parent / f"{parent}.yaml"
    return merged(_with_parents(beside if beside.is_file() else find(parent), (*chain, path.resolve())), data)


def apply_overrides(data: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Set dotted paths; a path must lead through mappings. Text values are read as YAML scalars or lists."""
    for dotted, value in overrides.items():
        parts = dotted.split(".")
        if isinstance(value, str):
            try:
                value = yaml.load(value, _Loader)
            except yaml.YAMLError as error:
                raise UserError(f"override {dotted}: {value!r} is not valid YAML") from error
        nested: Any = value
        for part in reversed(parts):
            nested = {part: nested}
        data = merged(data, nested)
    return data


def _fields(model: Any, loc: Iterable[Any]) -> list[str]:
    """Names allowed at the place `loc` of the schema."""
    for part in list(loc)[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[str(part)].annotation
        for _ in range(4):  # Annotated[...], Optional[...], dict[str, Model]
            models = [a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)]
            if isinstance(model, type) and not get_args(model):
                break
            model = models[-1] if models else (get_args(model) or (model,))[-1]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def explain(error: ValidationError, where: str) -> str:
    """One line per problem of a validation error: place, value, what is allowed."""
    lines = []
    for e in error.errors():
        place = ".".join(str(p) for p in e["loc"])
        if e["type"] == "extra_forbidden":
            allowed = _fields(Scenario, e["loc"])
            lines.append(
                f"{place}: unknown key{nearest(str(e['loc'][-1]), allowed)} (allowed: {', '.join(allowed)})"
            )
        elif e["type"] == "missing":
            lines.append(f"{place}: missing")
        else:
            shown = "" if isinstance(e["input"], dict) else f"{e['input']!r}: "
            lines.append(f"{place}: {shown}{e['msg'].removeprefix('Value error, ')}")
    return f"{where}: " + "; ".join(lines)


def load_scenario(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario `name` (a path, or the name of a shipped one), with dotted overrides applied.

    `random_plants: SEED` in the file or the overrides puts another plant into every region.

    Raises:
        UserError: one message for an unreadable file, an unknown key (with the nearest name), a wrong type or unit.
    """
    path = find(name)
    data = apply_overrides(_with_parents(path), overrides or {})
    data.setdefault("name", path.stem)
    seed = data.pop(random_plants.KEY, None)
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, str(path))) from None
    return scenario if seed is None else random_plants.with_random_plants(scenario, seed)
