"""Running the server: options checked, bundle opened, kernels warmed, uvicorn on loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from agents.adapters.kubernetes import Nodes, node_pattern, pod_defaults
from agents.policy import RulePolicy, load
from agents.serving.app import Service, application
from agents.serving.decide import Decider
from agents.serving.decision import Options
from agents.serving.gate import Limits
from agents.serving.log import DecisionLog, Lines
from agents.serving.metrics import Metrics
from agents.serving.scorers import RuleScorer
from gcn_env import load_world
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World
from gcn_env.sim import Sim
from gcn_env.snapshot import document

log = logging.getLogger("gcn.serve")
TOKEN = "GCN_TOKEN"
MIN_TOKEN = 16  # characters
GRACE_S = 10.0  # for requests under way when the server stops


@dataclass(frozen=True)
class ServeOptions:
    """How to serve; see `python -m agents serve --help` for each.

    Attributes:
        policy: folder of a bundle, or `rule:...`.
        scenario: name or path of the scenario that describes the live fleet.
    """

    policy: str
    scenario: str
    data: str | None = None
    host: str = "127.0.0.1"
    port: int = 8710
    token_file: str | None = None
    no_token: bool = False
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    signer: str | None = None
    fallback: str = "rule:cost-greedy+b1"
    shadow: bool = False
    canary: float = 1.0
    compare: bool = False
    deadline_ms: float = 100.0
    max_age_s: float = 300.0
    log: str | None = None
    log_mib: int = 64
    record: str | None = None
    body_mib: float = 4.0
    rate: float = 0.0
    memory_mib: int = 0
    pool_label: str = "gcn.io/pool"
    node_pattern: str | None = None
    pod_defaults: str | None = None
    k8s_without_token: bool = False
    skypilot_without_token: bool = False


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_of(options: ServeOptions) -> bytes | None:
    """The bearer token: from a file, or the environment variable; None where the operator says so, on loopback only.

    Raises:
        UserError: if there is none, or it is short.
    """
    if options.no_token:
        if not _loopback(options.host):
            raise UserError(
                f"--no-token with --host {options.host}: without a token the server binds to loopback only"
            )
        return None
    text = os.environ.get(TOKEN, "")
    if options.token_file is not None:
        try:
            text = Path(options.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {options.token_file}: {error}") from None
    if len(text) < MIN_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise UserError(
            f"a token of {MIN_TOKEN} or more printable ASCII characters is needed: --token-file FILE or {TOKEN} "
            "(openssl rand -hex 32), or --no-token on loopback"
        )
    return text.encode()


def tls_of(options: ServeOptions) -> dict[str, Any]:
    """What uvicorn is told of certificates.

    Raises:
        UserError: for half a pair, or a server that others can reach without TLS.
    """
    if (options.certificate is None) != (options.key is None):
        raise UserError("--certificate and --key belong together")
    if options.client_ca is not None and options.certificate is None:
        raise UserError("--client-ca needs --certificate and --key")
    if options.certificate is None:
        if not _loopback(options.host):
            raise UserError(f"--host {options.host} needs TLS: --certificate FILE --key FILE")
        return {}
    for path in (options.certificate, options.key, options.client_ca):
        if path is not None and not Path(path).is_file():
            raise UserError(f"no file {path}")
    found: dict[str, Any] = {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
    if options.client_ca is not None:
        found |= {"ssl_ca_certs": options.client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return found


def _tokenless(options: ServeOptions) -> tuple[str, ...]:
    """Kube-scheduler and SkyPilot send no header: a client certificate, or loopback, stands for the token."""
    found = []
    for without, flag, prefix in (
        (options.k8s_without_token, "--k8s-without-token", "/k8s/"),
        (options.skypilot_without_token, "--skypilot-without-token", "/skypilot"),
    ):
        if without and options.client_ca is None and not _loopback(options.host):
            raise UserError(f"{flag} is for loopback; elsewhere use mTLS: --client-ca FILE")
        if without or (options.client_ca is not None and prefix == "/k8s/"):
            found.append(prefix)
    return tuple(found)


def nodes_of(options: ServeOptions) -> Nodes:
    """How nodes belong to pools, and what pods do not say."""
    return Nodes(options.pool_label, node_pattern(options.node_pattern), pod_defaults(options.pod_defaults))


def service_of(options: ServeOptions, world: World) -> Service:
    """The service that options describe, its bundle opened, its kernels compiled.

    Raises:
        UserError: for anything an operator can mend.
    """
    rule = load(options.fallback, world)
    if not isinstance(rule, RulePolicy):
        raise UserError(f"--fallback {options.fallback}: wanted a rule, which needs no file to answer")
    if not 0.0 <= options.canary <= 1.0:
        raise UserError(f"--canary {options.canary:g}: wanted a share 0..1")
    decide = Options(
        "shadow" if options.shadow else "act",
        options.canary,
        options.deadline_ms / 1e3,
        options.max_age_s,
        options.compare,
    )
    served = None
    if options.policy.startswith("rule:"):
        own = load(options.policy, world)
        assert isinstance(own, RulePolicy)
        served = RuleScorer(own)
    decider = Decider(world, served, RuleScorer(rule), decide)
    path = None if options.policy.startswith("rule:") else options.policy.removeprefix("bundle:")
    writer = DecisionLog(options.log, options.log_mib << 20)
    service = Service(decider, writer, Metrics(), path, options.signer, nodes_of(options))
    service.record = Lines(options.record, options.log_mib << 20)
    if path is not None:
        service.load()
    warm(service)
    return service


def warm(service: Service) -> None:
    """Compile kernels and fill caches on an imagined snapshot, of which nothing stays."""
    decider = service.decider
    sim = Sim(decider.world, 1)
    sim.reset(0)
    patient = Decider(
        decider.world,
        None if decider.policy is None else decider.policy.scorer,
        decider.fallback,
        Options(deadline_s=60.0),
    )
    for slots in (True, False):
        patient.update(document(decider.world, sim.state, slots=slots))
        patient.place()
        patient.setpoints()
    names = [n for n in patient.live.slot_ids if n]
    if names:
        patient.score({"job": names[0]})
    if patient.policy is not None:
        patient.policy.close()


def limit_memory(mib: int) -> None:
    """Bound the address space of this process: a request for more fails instead of taking the machine down."""
    if mib <= 0:
        return
    try:
        import resource
    except ImportError:
        raise UserError("--memory-mib is not available on this system") from None
    resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))


def run(options: ServeOptions) -> None:
    """Serve until a signal stops it: SIGTERM and SIGINT end requests under way, SIGHUP takes the bundle again.

    Raises:
        UserError: for anything an operator can mend, before a port is opened.
    """
    token, tls, tokenless = token_of(options), tls_of(options), _tokenless(options)
    limit_memory(options.memory_mib)
    service = service_of(options, load_world(options.scenario, data_dir=options.data))
    app = application(service, token, Limits(int(options.body_mib * (1 << 20)), options.rate), tokenless)
    config = uvicorn.Config(
        app, host=options.host, port=options.port, log_level="warning", access_log=False, server_header=False,
        lifespan="off", timeout_graceful_shutdown=int(GRACE_S), timeout_keep_alive=75, limit_concurrency=512,
        backlog=256, h11_max_incomplete_event_size=16 << 10, **tls,
    )  # fmt: skip
    server = _Graceful(config, service)
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not walk through it, for tens of ms, between requests
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(server, service, options))
    except KeyboardInterrupt:
        log.info("stopped; requests under way were answered")  # uvicorn hands the signal on when all is done
    finally:
        service.log.close()
        service.record.close()
        if service.decider.policy is not None:
            service.decider.policy.close()


class _Graceful(uvicorn.Server):
    """Not ready any more as soon as it is told to stop, so that balancers turn away while requests under way end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and SIGINT."""
        self._service.ready = False
        super().handle_exit(sig, frame)


async def _serve(server: uvicorn.Server, service: Service, options: ServeOptions) -> None:
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(loop.create_task(_reload(service))))
    scheme = "https" if options.certificate else "http"
    log.info("serving on %s://%s:%d", scheme, options.host, options.port)
    await server.serve()


async def _reload(service: Service) -> None:
    """On SIGHUP; a refused bundle leaves the one before in service."""
    try:
        await service.reload()
    except UserError as error:
        log.error("the bundle was not taken, the one before goes on: %s", error)
