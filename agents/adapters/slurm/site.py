"""What a Slurm site says of itself: partitions as pools of the scenario, and what jobs do not say of themselves."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from gcn_env.errors import UserError, nearest
from gcn_env.scenario.load import read_yaml
from gcn_env.scenario.strict import ClassName, Strict
from gcn_env.snapshot.readings import JOBS

PREFIX = "gcn."  # of words in a job's comment: `gcn.work=4`
TEXT = ("class", "origin", "data_at", "trust", "jurisdictions")
OURS = ("held", "arrival", "deadline", "finish", "started")  # Slurm itself says these
NUMBERS = tuple(n for n in JOBS.names if n not in OURS)
TRUST = ("public", "private", "tee")
ANYWHERE = "any"
_WORD = re.compile(r"(?:^|(?<=\s))gcn\.(\S+)")
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Trust = Literal["public", "private", "tee"]
Device = Literal["gpu", "cpu"]


class Defaults(Strict):
    """What a job is where its comment does not say so. Jurisdictions have no default of their own."""

    model_config = Strict.model_config | {"populate_by_name": True}

    job_class: ClassName = Field(alias="class")
    origin: Name
    jurisdictions: Literal["any"] | tuple[Name, ...]
    trust: Trust = "public"
    work: float = Field(1.0, gt=0, le=1e6, description="h, of jobs without a time limit")
    tenant: Name | None = None
    source: Name | None = None


class Partition(Strict):
    """One partition: a pool of the scenario, or a part of one."""

    pool: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    jurisdiction: Name
    device: Device = "gpu"
    cores: int = Field(1, ge=1, description="CPUs that make a device, where devices are CPUs")
    trust: Trust = "public"


class Site(Strict):
    """A site file. See `agents/README.md`.

    Attributes:
        partitions: by name.
        jobs: what jobs are that ask for GPUs (`gpu`), and others (`cpu`).
        intake: partition where jobs without one arrive; its State is DOWN.
        grace_s: s after which a job that nobody placed starts by itself.
        hold: jobs wait for the controller, however long that takes, instead of starting by themselves.
        wait_h: h for which `wait` is taken for an answer; then a job goes to the pool that the policy likes best.
        feeds: JSON file of readings that Slurm does not know, as in a snapshot: `time`, `units`, `regions`, `pools`.
        feeds_max_age_s: s after which it is left out.
        most_jobs: jobs that a snapshot names; below the scenario's `decisions.job_places`.
    """

    partitions: dict[Name, Partition] = Field(min_length=1)
    jobs: dict[Device, Defaults]
    intake: Name = "intake"
    grace_s: int = Field(60, ge=1, le=86_400)
    hold: bool = False
    wait_h: float = Field(6.0, ge=0, le=1e4)
    feeds: Path | None = None
    feeds_max_age_s: float = Field(3600.0, gt=0)
    most_jobs: int = Field(200, ge=0)

    @field_validator("feeds", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Site:
        if self.intake in self.partitions:
            raise ValueError(
                f"intake {self.intake!r} is a partition where jobs arrive, not one where they run"
            )
        for device in sorted({p.device for p in self.partitions.values()} - set(self.jobs)):
            raise ValueError(f"jobs.{device} is missing: partitions have {device} devices")
        for device, job in self.jobs.items():
            self._check("origin", job.origin, self.regions, f"jobs.{device}")
            for law in () if job.jurisdictions == ANYWHERE else job.jurisdictions:
                self._check("jurisdictions", law, self.laws, f"jobs.{device}")
        return self

    @staticmethod
    def _check(field: str, value: str, allowed: tuple[str, ...], where: str) -> None:
        if value not in allowed:
            raise ValueError(
                f"{where}.{field}: {value!r}{nearest(value, allowed)} (one of: {', '.join(allowed)})"
            )

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that have a partition."""
        return tuple(dict.fromkeys(p.pool.split("/")[0] for p in self.partitions.values()))

    @property
    def laws(self) -> tuple[str, ...]:
        """Jurisdictions that have a partition."""
        return tuple(dict.fromkeys(p.jurisdiction for p in self.partitions.values()))

    def fields(self, device: Device, user: str, admin: str) -> dict[str, Any]:
        """Fields of a snapshot's job: words of the administrator's comment over the user's over the defaults.

        Raises:
            UserError: for a word that means nothing; such a job is not asked about.
        """
        found = self.jobs[device].model_dump(by_alias=True, exclude_none=True, exclude={"work"})
        if found["jurisdictions"] != ANYWHERE:
            found["jurisdictions"] = list(found["jurisdictions"])
        for comment in (user, admin):
            for word in _WORD.findall(comment):
                name, _, value = word.partition("=")
                found[name] = self._value(name, value)
        return found

    def _value(self, name: str, value: str) -> Any:
        """One word's value, checked: a snapshot with one wrong job would be refused as a whole."""
        where = f"{PREFIX}{name}={value}"[:80]
        if name in NUMBERS:
            row = next(r for r in JOBS.rows if r.name == name)
            try:
                number = float(value)
            except ValueError:
                raise UserError(f"{where}: wanted a number [{row.unit}]") from None
            if not row.low <= number <= row.high:
                raise UserError(f"{where}: wanted {row.low:g}..{row.high:g} {row.unit}")
            return number
        allowed = {
            "class": ("training", "batch", "inference", "hpc"), "trust": TRUST, "origin": self.regions,
            "data_at": self.regions, "jurisdictions": (*self.laws, ANYWHERE),
        }.get(name)  # fmt: skip
        if allowed is None:
            raise UserError(f"{where}: no such field{nearest(name, (*TEXT, *NUMBERS))}")
        parts = value.split(",") if name == "jurisdictions" else [value]
        for part in parts:
            if part not in allowed:
                raise UserError(f"{where}: {part!r}{nearest(part, allowed)} (one of: {', '.join(allowed)})")
        return parts if name == "jurisdictions" and value != ANYWHERE else value


def load_site(path: str | Path) -> Site:
    """A site file.

    Raises:
        UserError: naming each wrong field.
    """
    try:
        return Site.model_validate(read_yaml(Path(path)))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise UserError("\n".join([f"site file {path}:", *lines])) from None


def _quoted(value: str) -> str:
    return f'"{value}"'  # names hold no quotes: see `Name`


def lua(site: Site) -> str:
    """The shipped `job_submit.lua` with this site's settings."""
    text = resources.files("agents.adapters.slurm").joinpath("job_submit.lua").read_text(encoding="utf-8")
    rows = [f"local intake = {_quoted(site.intake)}", f"local grace = {site.grace_s} -- s"]
    rows += [f"local hold = {str(site.hold).lower()}", "local default = {"]
    for device, job in site.jobs.items():
        laws = job.jurisdictions if job.jurisdictions == ANYWHERE else ",".join(job.jurisdictions)
        rows.append(f"   {device} = {{ jurisdictions = {_quoted(laws)}, trust = {_quoted(job.trust)} }},")
    rows += ["}", "local partitions = {"]
    for name, p in site.partitions.items():
        values = {"name": name, "device": p.device, "jurisdiction": p.jurisdiction, "trust": p.trust}
        rows.append(f"   {{ {', '.join(f'{k} = {_quoted(v)}' for k, v in values.items())} }},")
    rows.append("}")
    head, _, rest = text.partition("-- settings")
    _, _, tail = rest.partition("-- end of settings")
    return f"{head}-- settings of this site\n" + "\n".join(rows) + f"\n-- end of settings{tail}"
