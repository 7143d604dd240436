"""One environment of a `Sim` at a glance: as text, or as a map. Pillow is imported when a map is drawn.

On the map a region's disc grows with the power it draws (area), its colour is how far its hottest inlet or
coolant is from the limit, its ring is its load. Lines are data on its way. Below, under each region's name, stand
clock, sun, wind and battery, and in vermillion what is wrong: outage, nodes down, faults (silent ones too: a picture
knows the truth), curtailment, links that are cut or weak, a hot breaker.
"""

from __future__ import annotations

import datetime
import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gcn_env.core.state import CARBON, DRY, FAULTS, PENDING, PRICE, QUEUED, RUNNING, TRANSIT
from gcn_env.land import NORTH, SOUTH, land

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from gcn_env.sim import Sim

WIDTH, HEIGHT = 960, 600  # pixels of a frame
_SCALE = 2  # drawn twice as large and shrunk: smooth edges
_HEAD, _MAP = 44, 360  # heights of the title bar and of the map
_LISTED = 10  # regions with a line below the map; the largest, if there are more
_INK, _SOFT, _SEA, _LAND = (33, 37, 41), (110, 117, 125), (236, 241, 245), (214, 220, 224)
_ALARM = (185, 70, 0)
# Okabe and Ito: blue is far from the limit, vermillion at it.
_HEAT = (
    (0.0, (213, 94, 0)),
    (2.0, (230, 159, 0)),
    (5.0, (86, 180, 233)),
    (10.0, (0, 114, 178)),
)  # (K, colour)


_COLUMNS = (
    ("queue", "dev h"), ("IT", "kW"), ("cooling", "kW"), ("price", "USD/MWh"), ("carbon", "g/kWh"),
    ("outside", "degC"), ("hottest", "degC"), ("margin", "K"),
)  # fmt: skip


class Region(NamedTuple):
    """What is shown of one region."""

    name: str
    longitude: float
    latitude: float
    load: float  # share of devices in service that run jobs
    queue: float  # device-hours waiting or on their way
    it_kw: float
    cool_kw: float
    grid_kw: float
    price: float  # USD/MWh
    carbon: float  # gCO2e/kWh
    dry: float  # degC
    hot: float  # degC, hottest inlet
    gap: float  # K to the limit
    command: tuple[float, ...]
    supply: tuple[str, ...]  # clock below full speed; sun, wind, battery, where it has them
    alarms: tuple[str, ...]  # what is wrong
    dark: bool  # no grid


class View(NamedTuple):
    """What is shown of one environment."""

    world: str
    when: str
    step: int
    horizon: int
    bill: float
    jobs: dict[str, int]
    regions: tuple[Region, ...]
    flows: dict[tuple[int, int], int]  # (from region, to region): jobs whose data is moving


def look(sim: Sim, b: int = 0) -> View:
    """Read what is shown of environment `b`."""
    world, state = sim.world, sim.state
    pools, plants, jobs, now = state.pools, state.plants, state.jobs, state.signals.now[b]
    inside = np.asarray(world.pool_region)[:, None] == np.arange(world.n_regions)
    healthy, busy = pools.healthy[b] @ inside, pools.busy[b] @ inside
    regions = tuple(
        Region(
            name, float(world.longitude_deg[r]), float(world.latitude_deg[r]),
            float(busy[r] / max(healthy[r], 1)),
            float(pools.queued[b] @ inside[:, r]), float(plants.it_kw[b, r]), float(plants.cool_kw[b, r]),
            float(plants.grid_kw[b, r]), float(now[r, PRICE]), float(now[r, CARBON]), float(now[r, DRY]),
            float(plants.hot_c[b, r]), float(plants.limit_gap[b, r]), tuple(map(float, plants.command[b, r])),
            _supply(sim, b, r), _alarms(sim, b, r), bool(plants.outage_h[b, r] > 0),
        )
        for r, name in enumerate(world.region_names)
    )  # fmt: skip
    status = jobs.status[b]
    named = {"pending": PENDING, "moving": TRANSIT, "queued": QUEUED, "running": RUNNING}
    flows: dict[tuple[int, int], int] = {}
    for j in np.flatnonzero(status == TRANSIT):
        ends = int(jobs.via[b, j]), int(world.pool_region[jobs.pool[b, j]])
        flows[ends] = flows.get(ends, 0) + 1
    return View(
        world.name,
        _when(float(state.clock.now_h[b])),
        int(state.clock.step[b]),
        int(world.horizon),
        float(state.ledger.terms_sum[b].sum()),
        {name: int((status == code).sum()) for name, code in named.items()},
        regions,
        flows,
    )


def _supply(sim: Sim, b: int, r: int) -> tuple[str, ...]:
    plants, site = sim.state.plants, sim.world.params.site
    words = [f"clock {100 * plants.freq[b, r]:.0f} %"] if plants.freq[b, r] < 0.995 else []
    if site.pv_kw[r] > 0:
        words.append(f"sun {_power(plants.pv_kw[b, r])}")
    if site.wind_kw[r] > 0:
        words.append(f"wind {_power(plants.wind_kw[b, r])}")
    if site.battery_kwh[r] > 0:
        flow = plants.battery_kw[b, r]
        what = "charging at" if flow > 0 else "discharging at" if flow < 0 else "battery"
        words.append(f"{what} {100 * plants.battery_kwh[b, r] / site.battery_kwh[r]:.0f} %")
    return tuple(words)


def _alarms(sim: Sim, b: int, r: int) -> tuple[str, ...]:
    plants, site = sim.state.plants, sim.world.params.site
    words = []
    if plants.outage_h[b, r] > 0:
        ups = plants.ups_kwh[b, r] / site.ups_kwh[r] if site.ups_kwh[r] > 0 else 0.0
        words.append(
            "OUTAGE on generator" if plants.generator[b, r] == 2 else f"OUTAGE UPS {100 * ups:.0f} %"
        )
    if plants.down_h[b, r] > 0:
        words.append("nodes down")
    words += [name for k, name in enumerate(FAULTS) if plants.fault_h[b, r, k] > 0]
    if plants.curtail_in_h[b, r] > 0:
        words.append(f"curtailment in {60 * plants.curtail_in_h[b, r]:.0f} min")
    elif plants.curtail_h[b, r] > 0:
        words.append(f"curtailed to {_power(plants.curtail_kw[b, r])}")
    up = sim.state.links.up[b, r]
    for c in np.flatnonzero(up < 1.0):
        words.append(f"link to {sim.world.region_names[c]} {'cut' if up[c] == 0.0 else 'weak'}")
    if plants.breaker[b, r] > 0.5:
        words.append(f"breaker {100 * plants.breaker[b, r]:.0f} %")
    return tuple(words)


def ansi(sim: Sim, b: int = 0) -> str:
    """Environment `b` as a table of text: one line per region."""
    v = look(sim, b)
    jobs = "  ".join(f"{name} {count}" for name, count in v.jobs.items())
    lines = [
        f"{v.world}  {v.when}  step {v.step}/{v.horizon}  bill {v.bill:,.0f} USD",
        f"jobs: {jobs}",
        "",
        f"{'region':<20}{'load':>17}" + "".join(f"{name:>9}" for name, _ in _COLUMNS) + "  set-points",
        f"{'':<37}" + "".join(f"{unit:>9}" for _, unit in _COLUMNS),
    ]
    for r in v.regions:
        full = round(10 * min(r.load, 1.0))
        meter = "#" * full + "." * (10 - full)
        points = " ".join(f"{x:.3g}" for x in r.command)
        notes = "".join(f"  {word}" for word in (*r.supply, *r.alarms))
        lines.append(
            f"{r.name[:19]:<20}{meter:>12}{100 * r.load:>4.0f}%"
            f"{r.queue:>9,.0f}{r.it_kw:>9,.0f}{r.cool_kw:>9,.0f}{r.price:>9.1f}{r.carbon:>9.0f}"
            f"{r.dry:>9.1f}{r.hot:>9.1f}{r.gap:>9.1f}  {points}{notes}"
        )
    return "\n".join(lines)


def frame(sim: Sim, b: int = 0) -> npt.NDArray[np.uint8]:
    """Environment `b` as a picture, uint8 `[HEIGHT, WIDTH, 3]`."""
    from PIL import ImageDraw
    from PIL.Image import Resampling

    v = look(sim, b)
    image = _background().copy()
    pen = ImageDraw.Draw(image)
    _title(pen, v)
    _lines(pen, v)
    _discs(pen, v)
    _table(pen, v)
    return np.asarray(image.resize((WIDTH, HEIGHT), Resampling.BOX))


def _when(hour_of_year: float) -> str:
    at = datetime.datetime(2023, 1, 1) + datetime.timedelta(hours=hour_of_year)  # a year of 365 days
    return f"{at:%d %b %H:%M} UTC"


@cache
def _background() -> Image:
    """Sea, land and the colour key; drawn once."""
    from PIL import Image, ImageDraw
    from PIL.Image import Resampling

    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), "white")
    cells = Image.fromarray((land() * 255).astype(np.uint8))
    shape = cells.resize((WIDTH * _SCALE, _MAP * _SCALE), Resampling.BICUBIC).point(lambda x: 255 * (x > 127))
    image.paste(_SEA, (0, _HEAD * _SCALE, WIDTH * _SCALE, (_HEAD + _MAP) * _SCALE))
    image.paste(_LAND, (0, _HEAD * _SCALE), shape)
    pen = ImageDraw.Draw(image)
    x, y = 12, _HEAD + _MAP - 26
    _text(pen, x, y - 17, "K to the thermal limit", 11, _SOFT)
    for i in range(120):
        pen.rectangle([*_at(x + i, y), *_at(x + i + 1, y + 8)], fill=_heat(i / 12))
    for k in (0, 5, 10):
        _text(pen, x + 12 * k, y + 9, f"{k}", 11, _SOFT, anchor="ma" if k else "la")
    return image


def _title(pen: ImageDraw, v: View) -> None:
    _text(pen, 12, _HEAD / 2, v.world, 18, _INK, anchor="lm")
    right = f"bill {v.bill:,.0f} USD"
    _text(pen, WIDTH - 12, _HEAD / 2, right, 18, _INK, anchor="rm")
    jobs = "   ".join(f"{name} {count}" for name, count in v.jobs.items())
    _text(pen, WIDTH / 2, _HEAD / 2 - 8, f"{v.when}   step {v.step}/{v.horizon}", 13, _INK, anchor="mm")
    _text(pen, WIDTH / 2, _HEAD / 2 + 9, f"jobs: {jobs}", 12, _SOFT, anchor="mm")
    pen.rectangle([*_at(0, _HEAD - 3), *_at(WIDTH * v.step / max(v.horizon, 1), _HEAD - 1)], fill=_heat(10.0))


def _lines(pen: ImageDraw, v: View) -> None:
    for (a, c), count in v.flows.items():
        if a < 0 or c < 0 or a == c:
            continue
        ends = [_at(*_place(v.regions[k])) for k in (a, c)]
        pen.line(
            [*ends[0], *ends[1]], fill=(120, 130, 145), width=_SCALE * min(6, 1 + int(math.log2(count + 1)))
        )


def _discs(pen: ImageDraw, v: View) -> None:
    most = max((r.grid_kw for r in v.regions), default=1.0) or 1.0
    for r in sorted(v.regions, key=lambda r: -r.grid_kw):  # small ones on top
        x, y = _place(r)
        radius = 7 + 19 * math.sqrt(max(r.grid_kw, 0.0) / most)
        fill = (90, 90, 90) if r.dark else _heat(r.gap)
        pen.ellipse([*_at(x - radius, y - radius), *_at(x + radius, y + radius)], fill="white")
        box = [*_at(x - radius + 1, y - radius + 1), *_at(x + radius - 1, y + radius - 1)]
        pen.arc(box, -90, -90 + 360 * min(r.load, 1.0), fill=_INK, width=3 * _SCALE)
        inner = radius - 5
        pen.ellipse([*_at(x - inner, y - inner), *_at(x + inner, y + inner)], fill=fill)
    for r in v.regions:
        x, y = _place(r)
        radius = 7 + 19 * math.sqrt(max(r.grid_kw, 0.0) / most)
        near = any(0 < u - x < 130 and abs(w - y) < 26 for u, w in map(_place, v.regions))
        side = "r" if near or x > WIDTH - 150 else "l"  # no label over a neighbour's
        dx = radius + 5 if side == "l" else -radius - 5
        _text(pen, x + dx, y - 8, r.name, 13, _INK, anchor=f"{side}m", halo=True)
        detail = "OUTAGE" if r.dark else f"{_power(r.grid_kw)}  {r.hot:.0f} °C"
        _text(pen, x + dx, y + 7, detail, 11, _ALARM if r.dark else _SOFT, anchor=f"{side}m", halo=True)


def _table(pen: ImageDraw, v: View) -> None:
    """Two columns of lines: name, load, power, queue, price, carbon; below them supply and alarms."""
    shown = sorted(v.regions, key=lambda r: -r.grid_kw)[:_LISTED]
    top, height, half = _HEAD + _MAP + 24, 32, WIDTH // 2
    columns = (("load", 212), ("power", 268), ("queue", 334), ("USD/MWh", 398), ("g/kWh", 452))
    for k in range(2 if len(shown) > 1 else 1):
        for name, x in columns:
            _text(pen, k * half + x, top - 12, name, 11, _SOFT, anchor="rm")
    rows = -(-len(shown) // 2)
    for i, r in enumerate(shown):
        x, y = half * (i // rows), top + height * (i % rows) + 8
        _text(pen, x + 12, y, r.name if len(r.name) < 15 else r.name[:14] + "…", 12, _INK, anchor="lm")
        pen.rectangle([*_at(x + 118, y - 5), *_at(x + 178, y + 5)], fill=_SEA)
        pen.rectangle([*_at(x + 118, y - 5), *_at(x + 118 + 60 * min(r.load, 1.0), y + 5)], fill=_heat(10.0))
        texts = (
            f"{100 * r.load:.0f} %",
            _power(r.grid_kw),
            f"{r.queue:,.0f} h",
            f"{r.price:.0f}",
            f"{r.carbon:.0f}",
        )
        for text, (_, right) in zip(texts, columns, strict=True):
            _text(pen, x + right, y, text, 12, _INK, anchor="rm")
        at = float(x + 12)
        for words, colour in ((r.supply, _SOFT), (r.alarms, _ALARM)):
            note = ", ".join(words) + "   "
            _text(pen, at, y + 14, note, 11, colour, anchor="lm")
            at += pen.textlength(note, _font(11)) / _SCALE if words else 0.0
    if len(v.regions) > len(shown):
        _text(pen, WIDTH - 12, HEIGHT - 8, f"and {len(v.regions) - len(shown)} more", 11, _SOFT, anchor="rm")


def _place(r: Region) -> tuple[float, float]:
    latitude = min(max(r.latitude, SOUTH), NORTH)
    return (r.longitude + 180) / 360 * WIDTH, _HEAD + (NORTH - latitude) / (NORTH - SOUTH) * _MAP


def _heat(gap: float) -> tuple[int, int, int]:
    """Colour of a distance from the limit in K, interpolated."""
    x = min(max(gap, _HEAT[0][0]), _HEAT[-1][0]) if math.isfinite(gap) else _HEAT[-1][0]
    channels = (np.interp(x, [k for k, _ in _HEAT], [c[i] for _, c in _HEAT]) for i in range(3))
    red, green, blue = (int(c) for c in channels)
    return red, green, blue


def _power(kw: float) -> str:
    return f"{kw / 1e3:.1f} MW" if kw >= 1e3 else f"{kw:.0f} kW"


def _at(x: float, y: float) -> tuple[float, float]:
    return x * _SCALE, y * _SCALE


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size * _SCALE)


def _text(
    pen: ImageDraw, x: float, y: float, text: str, size: int, colour: tuple[int, int, int],
    anchor: str = "la", halo: bool = False,
) -> None:  # fmt: skip
    width = 2 * _SCALE if halo else 0
    font = _font(size)
    pen.text(_at(x, y), text, colour, font, anchor, stroke_width=width, stroke_fill=(255, 255, 255))
