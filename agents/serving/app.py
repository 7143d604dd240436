"""The HTTP application: routes over one `Service`, which holds the decider, the bundle, the log and the metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from agents.adapters.kubernetes import Nodes, PodError, filter_nodes, prioritize_nodes
from agents.adapters.skypilot import Rejected, admit
from agents.bundle import Bundle, BundlePolicy
from agents.serving import oip
from agents.serving.decide import Decider
from agents.serving.decision import Decision, NotReady
from agents.serving.gate import Gate, Limits, Refused
from agents.serving.guard import Envelope
from agents.serving.log import DecisionLog, Lines
from agents.serving.metrics import Metrics
from agents.serving.openapi import document as openapi
from agents.serving.opening import opened_bundle
from agents.serving.scorers import BundleScorer
from gcn_env.errors import UserError

log = logging.getLogger("gcn.serve")
Handler = Callable[["Service", Request, bytes], Response | Awaitable[Response]]
_JSON = {"content-type": "application/json"}


@dataclass
class Service:
    """What the routes act on.

    Attributes:
        decider: of the live fleet.
        path: folder of the bundle, None where a rule is served.
        record: where snapshots are kept, for `python -m agents counterfactual`.
        signer: public key that must have signed it.
        nodes: how Kubernetes' nodes belong to pools.
    """

    decider: Decider
    log: DecisionLog
    metrics: Metrics
    path: str | None = None
    signer: str | None = None
    nodes: Nodes = field(default_factory=Nodes)
    bundle: Bundle | None = None
    graph: BundlePolicy | None = None
    ready: bool = True
    record: Lines = field(default_factory=lambda: Lines(None))

    def load(self) -> str:
        """Open the bundle in `path` and serve it; if it is refused, what was served goes on. Returns its digest.

        Raises:
            UserError: with the reason of the refusal.
        """
        return self.take(self.opened())

    async def reload(self) -> str:
        """The same while requests go on: opening takes a second or two, in a thread."""
        return self.take(await asyncio.to_thread(self.opened))

    def opened(self) -> BundlePolicy:
        """The bundle in `path`, checked and tried.

        Raises:
            UserError: with the reason of the refusal.
        """
        if self.path is None:
            raise UserError("a rule is served, not a bundle: there is nothing to load again")
        try:
            return opened_bundle(self.path, self.decider.world, self.signer)
        except UserError:
            self.metrics.reloads.labels("refused").inc()
            raise

    def take(self, policy: BundlePolicy) -> str:
        """Serve a policy from now on."""
        bundle = policy.bundle
        self.decider.swap(BundleScorer(policy), Envelope(bundle.manifest.envelope))
        self.bundle, self.graph = bundle, policy
        self.metrics.loaded(bundle.manifest.name, bundle.digest)
        self.metrics.reloads.labels("done").inc()
        log.info("serving %s (%s)", bundle.manifest.name, bundle.digest[:12])
        return bundle.digest

    def note(self, decision: Decision, request: str) -> None:
        """Log and count a decision."""
        self.metrics.decision(decision)
        self.log.write(decision, request, "" if self.bundle is None else self.bundle.digest[:12])


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, _JSON)


def _body(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"no JSON: {error!s:.100}") from None


def _deadline(service: Service, request: Request) -> float:
    """Seconds left for this request: the caller's `X-Deadline-Ms`, at most ours, less what has passed."""
    most: float = service.decider.options.deadline_s
    given = request.headers.get("x-deadline-ms")
    if given is not None:
        try:
            asked = float(given) / 1e3
        except ValueError:
            raise Refused(400, f"X-Deadline-Ms: {given!r:.40} is no number") from None
        if not 0.0 <= asked < float("inf"):
            raise Refused(400, f"X-Deadline-Ms: {given!r:.40}; wanted milliseconds from 0")
        most = min(most, asked)
    passed: float = time.monotonic() - request.scope["state"]["began"]
    return max(most - passed, 1e-9)


def _identity(request: Request) -> str:
    return request.headers.get("x-request-id", "")[:100]


def _decided(service: Service, request: Request, decision: Decision) -> Response:
    service.note(decision, _identity(request))
    return _json(
        {
            **decision.answer, "by": decision.by, "reason": decision.reason, "inputs": decision.inputs,
            "corrections": decision.corrections,
        }
    )  # fmt: skip


def put_snapshot(service: Service, request: Request, body: bytes) -> Response:
    """Telemetry: the fleet as it is now."""
    try:
        report = service.decider.update(_body(body))
    except UserError:
        service.metrics.snapshots.labels("refused").inc()
        raise
    service.metrics.snapshots.labels("taken").inc()
    service.record.append(orjson.dumps(orjson.Fragment(body), option=orjson.OPT_APPEND_NEWLINE))
    service.metrics.unknown.set(sum(map(len, report.unknown.values())))
    return _json(service.decider.status())


def get_snapshot(service: Service, request: Request, body: bytes) -> Response:
    """What is known."""
    return _json(service.decider.status())


def score(service: Service, request: Request, body: bytes) -> Response:
    """Candidates for one job."""
    return _decided(service, request, service.decider.score(_body(body), _deadline(service, request)))


def place(service: Service, request: Request, body: bytes) -> Response:
    """All jobs in slots."""
    return _decided(service, request, service.decider.place(_deadline(service, request)))


def setpoints(service: Service, request: Request, body: bytes) -> Response:
    """All plants."""
    return _decided(service, request, service.decider.setpoints(_deadline(service, request)))


async def reload(service: Service, request: Request, body: bytes) -> Response:
    """Take the bundle in the folder again."""
    return _json({"digest": await service.reload()})


def _extend(service: Service, request: Request, body: bytes, verb: Any) -> Response:
    try:
        answer, decision = verb(service.decider, _body(body), service.nodes, _deadline(service, request))
    except PodError as error:
        return _json({"Error": str(error)}, 400)
    except NotReady as error:  # the scheduler goes on without us if the extender is `ignorable`
        return _json({"Error": str(error)}, 503)
    if decision is not None:
        service.note(decision, _identity(request))
    return _json(answer)


def k8s_filter(service: Service, request: Request, body: bytes) -> Response:
    """Extender v1 filter."""
    return _extend(service, request, body, filter_nodes)


def k8s_prioritize(service: Service, request: Request, body: bytes) -> Response:
    """Extender v1 prioritize."""
    return _extend(service, request, body, prioritize_nodes)


def skypilot(service: Service, request: Request, body: bytes) -> Response:
    """SkyPilot's admin policy; 400 is how it is told no."""
    try:
        answer, decision = admit(service.decider, body, service.nodes.defaults, _deadline(service, request))
    except Rejected as rejection:
        return Response(str(rejection)[:2000], 400, {"content-type": "text/plain; charset=utf-8"})
    if decision is not None:
        service.note(decision, _identity(request))
    return _json(answer)


def _model(service: Service, request: Request) -> tuple[Bundle, BundlePolicy]:
    """The graph that is asked for by name."""
    if service.bundle is None or service.graph is None:
        raise Refused(404, "a rule is served: there is no model")
    name, version = request.path_params.get("name"), request.path_params.get("version", oip.VERSION)
    if name != service.bundle.manifest.name or version != oip.VERSION:
        raise Refused(
            404, f"no model {name!r:.80} version {version!r:.20}; there is {service.bundle.manifest.name!r} 1"
        )
    return service.bundle, service.graph


def oip_server(service: Service, request: Request, body: bytes) -> Response:
    """Server metadata."""
    from importlib.metadata import version

    return _json({"name": "gcn-env", "version": version("gcn-env"), "extensions": ["binary_tensor_data"]})


def oip_model(service: Service, request: Request, body: bytes) -> Response:
    """Model metadata."""
    return _json(oip.metadata(_model(service, request)[0]))


def oip_model_ready(service: Service, request: Request, body: bytes) -> Response:
    """Whether the model is ready."""
    bundle, _ = _model(service, request)
    return _json({"name": bundle.manifest.name, "ready": True})


def oip_infer(service: Service, request: Request, body: bytes) -> Response:
    """Tensors in, tensors out."""
    bundle, graph = _model(service, request)
    inputs, head = oip.parse(
        body, request.headers.get("inference-header-content-length"), bundle.manifest.levels
    )
    try:
        results = graph.session.run(list(bundle.outputs), inputs)
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise Refused(400, f"the graph does not take these tensors: {error!s:.200}") from None
    raw, headers = oip.answer(bundle, dict(zip(bundle.outputs, results, strict=True)), head)
    return Response(raw, 200, headers)


def live(service: Service, request: Request, body: bytes) -> Response:
    """Whether the process answers."""
    return _json({"live": True})


def ready(service: Service, request: Request, body: bytes) -> Response:
    """Whether it can decide: it is not shutting down, and a snapshot is here."""
    can = service.ready and service.decider.received is not None
    return _json({"ready": can, "snapshot_age_s": service.decider.status()["age_s"]}, 200 if can else 503)


def oip_ready(service: Service, request: Request, body: bytes) -> Response:
    """Whether the model can be asked: that needs no snapshot."""
    return _json({"ready": service.ready}, 200 if service.ready else 503)


def metrics(service: Service, request: Request, body: bytes) -> Response:
    """For Prometheus."""
    age = service.decider.age_s
    service.metrics.age.set(age)
    return Response(service.metrics.text(), 200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def describe(service: Service, request: Request, body: bytes) -> Response:
    """The OpenAPI document."""
    return _json(openapi())


_MODEL = "/v2/models/{name}"
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("PUT", "/v1/snapshot", put_snapshot),
    ("GET", "/v1/snapshot", get_snapshot),
    ("POST", "/v1/score", score),
    ("POST", "/v1/place", place),
    ("POST", "/v1/setpoints", setpoints),
    ("POST", "/v1/reload", reload),
    ("POST", "/k8s/filter", k8s_filter),
    ("POST", "/k8s/prioritize", k8s_prioritize),
    ("POST", "/skypilot", skypilot),
    ("GET", "/v2", oip_server),
    ("GET", "/v2/health/live", live),
    ("GET", "/v2/health/ready", oip_ready),
    ("GET", _MODEL, oip_model),
    ("GET", _MODEL + "/ready", oip_model_ready),
    ("POST", _MODEL + "/infer", oip_infer),
    ("GET", _MODEL + "/versions/{version}", oip_model),
    ("GET", _MODEL + "/versions/{version}/ready", oip_model_ready),
    ("POST", _MODEL + "/versions/{version}/infer", oip_infer),
    ("GET", "/livez", live),
    ("GET", "/readyz", ready),
    ("GET", "/healthz", live),
    ("GET", "/metrics", metrics),
    ("GET", "/openapi.json", describe),
)


def _endpoint(
    service: Service, path: str, by_method: Mapping[str, Handler]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state = request.scope["state"]
        state["route"] = path
        try:
            method = "GET" if request.method == "HEAD" else request.method
            answer = by_method[method](service, request, state["body"])
            return answer if isinstance(answer, Response) else await answer
        except Refused as refusal:
            return Response(orjson.dumps({"error": str(refusal)}), refusal.status, _JSON | refusal.headers)
        except NotReady as error:
            return _json({"error": str(error)}, 503)
        except UserError as error:
            return _json({"error": str(error)[:2000]}, 422)
        except Exception:
            log.exception("request failed")
            return _json({"error": "internal error; the log of the server says more"}, 500)

    return endpoint


def application(
    service: Service, token: bytes | None, limits: Limits | None = None, tokenless: tuple[str, ...] = ()
) -> Gate:
    """The ASGI application.

    Args:
        service: what it serves.
        token: bearer token that every route but the health checks asks for; None for none.
        limits: of requests.
        tokenless: prefixes of paths whose callers cannot send a token.
    """
    paths: dict[str, dict[str, Handler]] = {}
    for method, path, handler in ROUTES:
        paths.setdefault(path, {})[method] = handler
    routes = [Route(p, _endpoint(service, p, m), methods=list(m)) for p, m in paths.items()]
    return Gate(Router(routes), service.metrics, token, limits or Limits(), tokenless)
