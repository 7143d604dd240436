"""An API server small enough to read: what controllers use of the real one, behaving as that does.

Lists in pages with versions, watches from a version with bookmarks and 410 for forgotten ones, field and label
selectors, JSON patches whose `test` fails with 422, merge patches that conflict with 409, a status subresource,
validation of gated pods (Kubernetes 1.27+), tokens, and faults on order. `FakePolicy` is a policy server to order.
"""

import asyncio
import copy
import datetime
import itertools
import json
import re
import threading

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?:/namespaces/(?P<namespace>[^/]+))?/(?P<kind>\w+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>\w+))?"
)
GATED = ("schedulingGates", "nodeSelector", "affinity")


def status(code, message, headers=None):
    body = {"kind": "Status", "status": "Failure", "code": code, "message": message}
    return JSONResponse(body, code, headers=headers)


class RefusalError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Stream:
    """The answer to a watch, as plain ASGI: an async generator that a client leaves half-way is never ended."""

    def __init__(self, kube, at, query, version):
        self.kube, self.at, self.query, self.version = kube, at, query, version

    async def __call__(self, scope, receive, send):
        clock, cut = asyncio.get_running_loop().time, self.kube.cut
        ends = clock() + int(self.query["timeoutSeconds"])
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while self.kube.cut == cut and clock() < ends:
            for event in (news := self.news()):
                await self.line(send, event)
            if not news:
                await asyncio.sleep(0.01)
        if self.kube.cut == cut:
            await self.line(
                send, {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}}
            )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def line(self, send, event):
        body = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})

    def news(self):
        """Events since last time, as a watcher with this selection sees them."""
        kube, found = self.kube, []
        with kube.lock:
            rows = [e for e in kube.log if e[0] > self.version and e[1] == self.at["kind"]]
            self.version = kube.revision
        for _, _, kind, item, old in rows:
            was = old is not None and kube.chosen(self.at, self.query, old)
            is_ = kube.chosen(self.at, self.query, item)
            if kind == "DELETED" or not is_:
                kind = "DELETED" if was else None
            elif not was:
                kind = "ADDED"
            if kind:
                found.append({"type": kind, "object": item})
        return found


class FakeKube:
    """Attributes: `objects` by (kind, namespace, name); `calls` as RBAC sees them; `faults` for the next requests."""

    def __init__(self, token="kube-token"):
        self.token, self.lock = token, threading.RLock()
        self.objects, self.log, self.oldest = {}, [], 0
        self.revision, self.uids = 0, itertools.count(1)
        self.calls, self.faults, self.watches, self.page = set(), [], 0, None
        self.cut = 0  # raised to end all watches under way
        methods = ["GET", "PATCH", "POST", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=methods)])

    # ------------------------------------------------------------------------------------------------ as a test would
    def put(self, kind, item, event=None):
        """Create or replace an object, and tell watchers."""
        with self.lock:
            item = copy.deepcopy(item)
            meta = item["metadata"]
            if kind != "nodes":
                meta.setdefault("namespace", "default")
            key = (kind, meta.get("namespace"), meta["name"])
            new = key not in self.objects
            self.revision += 1
            meta.setdefault("uid", f"uid-{next(self.uids)}")
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            meta.setdefault("creationTimestamp", now)
            meta["resourceVersion"] = str(self.revision)
            old = self.objects.get(key)
            self.objects[key] = item
            self.log.append((self.revision, kind, event or ("ADDED" if new else "MODIFIED"), item, old))
            return copy.deepcopy(item)

    def remove(self, kind, name, namespace="default"):
        with self.lock:
            item = self.objects.pop((kind, namespace, name))
            self.revision += 1
            gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.revision)}}
            self.log.append((self.revision, kind, "DELETED", gone, item))

    def get(self, kind, name, namespace="default"):
        with self.lock:
            return copy.deepcopy(self.objects[kind, namespace, name])

    def compact(self):
        """Forget all versions up to now, and end watches."""
        with self.lock:
            self.revision += 1
            self.oldest, self.log = self.revision, []
            self.cut += 1

    # ------------------------------------------------------------------------------------------------ as a server does
    async def answer(self, request):
        if self.faults:
            fault = self.faults.pop(0)
            if fault is not None:
                return fault
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized")
        found = PATH.fullmatch(request.url.path)
        if found is None:
            return status(404, "the server could not find the requested resource")
        at, query = found.groupdict(), request.query_params
        verb = {"PATCH": "patch", "GET": "get" if at["name"] else "watch" if query.get("watch") else "list"}
        resource = at["kind"] + (f"/{at['sub']}" if at["sub"] else "")
        self.calls.add((at["group"] or "", resource, verb.get(request.method, request.method.lower())))
        try:
            if request.method == "PATCH":
                return JSONResponse(
                    self.patch(at, request.headers["content-type"], json.loads(await request.body()))
                )
            if at["name"]:
                return JSONResponse(self.get(at["kind"], at["name"], at["namespace"]))
            return self.watch(at, query) if query.get("watch") else self.list(at, query)
        except RefusalError as refusal:
            return status(refusal.code, str(refusal))
        except KeyError:
            return status(404, f"{at['kind']} {at['name']!r} not found")

    def chosen(self, at, query, item):
        if at["namespace"] not in (None, item["metadata"].get("namespace")):
            return False
        values = {
            "spec.nodeName": item.get("spec", {}).get("nodeName", ""),
            "status.phase": item.get("status", {}).get("phase", ""),
        }
        for term in filter(None, query.get("fieldSelector", "").split(",")):
            key, differs, value = re.fullmatch(r"([\w.]+)(!?)=(\w*)", term).groups()
            if (values[key] == value) == bool(differs):
                return False
        labels = item["metadata"].get("labels") or {}
        for term in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = term.partition("=")
            if labels.get(key) != value:
                return False
        return True

    def list(self, at, query):
        with self.lock:
            skip, version = 0, self.revision
            if "continue" in query:
                skip, version = (int(x) for x in query["continue"].split("-"))
                if version < self.oldest:
                    raise RefusalError(410, "The provided continue parameter is too old")
            keys = sorted((k for k in self.objects if k[0] == at["kind"]), key=str)
            items = [self.objects[k] for k in keys if self.chosen(at, query, self.objects[k])]
            limit = self.page or int(query.get("limit", 500))
            meta = {"resourceVersion": str(version)}
            if skip + limit < len(items):
                meta["continue"] = f"{skip + limit}-{version}"
            return JSONResponse({"metadata": meta, "items": copy.deepcopy(items[skip : skip + limit])})

    def watch(self, at, query):
        version, self.watches = int(query["resourceVersion"]), self.watches + 1
        if version < self.oldest:
            raise RefusalError(410, f"too old resource version: {version} ({self.oldest})")
        return Stream(self, at, query, version)

    def patch(self, at, kind, patch):
        with self.lock:
            old = self.objects[at["kind"], at["namespace"], at["name"]]
            item = copy.deepcopy(old)
            if kind == "application/json-patch+json":
                item = json_patched(item, patch)
            elif kind == "application/merge-patch+json":
                wanted = patch.get("metadata", {}).get("resourceVersion")
                if wanted not in (None, old["metadata"]["resourceVersion"]):
                    raise RefusalError(
                        409, "the object has been modified; please apply your changes to the latest version"
                    )
                item = merged(item, patch)
            else:
                raise RefusalError(415, f"unsupported media type {kind}")
            if at["sub"] == "status":  # nothing else is changed by a patch of the subresource
                item = {**old, "status": item.get("status", {})}
                if old.get("status", {}).get("clusterName") and item["status"] != old["status"]:
                    raise RefusalError(422, "nominatedClusterNames is immutable while clusterName is set")
            elif at["kind"] == "pods":
                pod_update(old, item)
            return self.put(at["kind"], item)


def json_patched(item, patch):
    """RFC 6902: all of it or nothing."""
    for step in patch:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
        at = item
        try:
            for part in parents:
                at = at[int(part)] if isinstance(at, list) else at[part]
            last = int(last) if isinstance(at, list) else last
            if step["op"] == "test" and at[last] != step["value"]:
                raise RefusalError(422, f"testing value {step['path']} failed")
            if step["op"] == "remove":
                del at[last]
            elif step["op"] == "add":
                at[last] = step["value"]
        except (KeyError, IndexError, TypeError):
            raise RefusalError(422, f"{step['op']} {step['path']}: doc is missing path") from None
    return item


def merged(item, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def pod_update(old, new):
    """Gates may only go; a selector may only grow, and only while gates are there; the rest of the spec is fixed."""
    gates = [[g["name"] for g in p["spec"].get("schedulingGates") or []] for p in (old, new)]
    if not set(gates[1]) <= set(gates[0]):
        raise RefusalError(422, "spec.schedulingGates: only deletion is allowed")
    before, after = (p["spec"].get("nodeSelector") or {} for p in (old, new))
    if before != after and (not gates[0] or not before.items() <= after.items()):
        raise RefusalError(422, "spec.nodeSelector: may only be added to, while the pod is gated")
    rest = [{k: v for k, v in p["spec"].items() if k not in GATED} for p in (old, new)]
    if rest[0] != rest[1]:
        raise RefusalError(422, "spec: pod updates may not change fields other than ...")


def node(name, region, pool, gpus=8, ready="True", labels=None, **spec):
    where = {"topology.kubernetes.io/region": region, "gcn.io/pool": pool}
    return {
        "metadata": {"name": name, "labels": where | (labels or {})},
        "spec": spec,
        "status": {
            "allocatable": {"nvidia.com/gpu": str(gpus), "cpu": "64"},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }  # fmt: skip


def pod(name, gpus=1, gate=True, annotations=None, phase="Pending", labels=None, created=None, **spec):
    made = {
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}, "labels": labels or {}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}], **spec},
        "status": {"phase": phase},
    }  # fmt: skip
    if gate:
        made["spec"]["schedulingGates"] = [{"name": "example.com/other"}, {"name": "gcn.io/placement"}]
    if created:
        made["metadata"]["creationTimestamp"] = created
    return made


def workload(name, pods=4, gpus=2, quota=True, checks=("Pending",), annotations=None, created=None):
    template = {
        "metadata": {"annotations": annotations or {}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": gpus}}}]},
    }
    since = created or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "QuotaReserved", "status": "True" if quota else "False", "lastTransitionTime": since}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSets": [{"name": "main", "count": pods, "template": template}]},
        "status": {
            "conditions": [condition],
            "admissionChecks": [{"name": f"check-{k}", "state": state} for k, state in enumerate(checks)],
        },
    }


POOLS = ("eu/gpu", "us/gpu")


class FakePolicy:
    """Attributes: `choose` (job, candidates) -> pool or None; `delay_s`; `raw` sent instead; `asked`, `told`."""

    def __init__(self, choose=lambda job, pools: pools[0]):
        self.choose, self.delay_s, self.raw = choose, 0.0, None
        self.asked, self.told, self.refuses = [], [], lambda snapshot: None
        self.app = Starlette(
            routes=[
                Route("/v1/score", self.score, methods=["POST"]),
                Route("/v1/snapshot", self.snapshot, methods=["GET", "PUT"]),
            ]
        )

    async def score(self, request):
        body = await request.json()
        self.asked.append(body)
        await asyncio.sleep(self.delay_s)
        if self.raw is not None:
            return self.raw
        pools = body["candidates"]
        best = self.choose(body["job"], pools)
        rows = [{"pool": p, "score": float(p == best), "refused": []} for p in pools]
        return JSONResponse({"choice": best, "candidates": rows, "by": "policy", "reason": ""})

    async def snapshot(self, request):
        if request.method == "GET":
            return JSONResponse({"pools": list(POOLS), "job_places": 64})
        told = await request.json()
        why = self.refuses(told)
        if why is not None:
            return JSONResponse({"error": why}, 422)
        self.told.append(told)
        return JSONResponse({})
