"""Claim: 200 workers, 10,000 trials, eight uploads, 100 readers and 1,000 idlers leave the server quick and small.

L1: 200 workers that beat every 10 s, report every 2 s and together claim 10 tasks a second. L3: pages and a suggestion
of a search with 10,000 trials. L4: eight uploads of 200 MB at once. L5: 100 followers of an experiment, and SIGTERM.
S11: 50 workers as in L1, beside 1,000 connections that are silent or drip, and come back when they are ended.
Latencies count from the moment a call was due, so that a server that falls behind shows it.
"""

import argparse
import hashlib
import heapq
import json
import secrets
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any
from uuid import uuid4

import httpx
import psycopg2

from bench.crowd import SILENT, SLOW_BODY, SLOW_HEAD, TOKENLESS, Crowd
from bench.machine import describe
from bench.server import Server, digits, serving, submission

MB = 1_000_000
SENDERS = 32
S11_WORKERS = 50
DRIP_SECONDS = 5.0
NAMES = ("L1", "L3", "L4", "L5", "S11")
CHUNK = 1 << 20


class Calls:
    """Calls from many threads, each with a connection of its own: latencies by kind, statuses."""

    def __init__(self, server: Server, scope: str) -> None:
        self._server, self._scope = server, scope
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
        self.seconds: dict[str, list[float]] = {}
        self.statuses: Counter[int] = Counter()

    def send(self, kind: str, method: str, path: str, *, due: float | None = None, **more: Any) -> httpx.Response:
        """Call; the latency counts from ``due`` of the performance counter, or from now."""
        if not hasattr(self._own, "client"):
            self._own.client = self._server.client(self._scope)
            self._clients.append(self._own.client)
        began = time.perf_counter() if due is None else due
        answer: httpx.Response = self._own.client.request(method, path, **more)
        self.seconds.setdefault(kind, []).append(time.perf_counter() - began)
        self.statuses[answer.status_code] += 1
        return answer

    def row(self, kind: str) -> str:
        """A row of the table: count, p50, p95, p99 in milliseconds."""
        found = self.seconds.get(kind) or [0.0]
        cuts = quantiles(found * 2, n=100, method="inclusive")
        p50, p95, p99 = (1000 * cuts[at] for at in (49, 94, 98))
        return f"| {kind} | {len(found)} | {p50:.0f} ms | {p95:.0f} ms | {p99:.0f} ms |"

    @property
    def told(self) -> str:
        """`1,000 answers, of which 3 were 503`: whatever is no success is told."""
        odd = {status: number for status, number in sorted(self.statuses.items()) if status >= 300}
        others = ", ".join(f"{number:,} were {status}" for status, number in odd.items())
        return f"{self.statuses.total():,} answers, of which {others or 'all were successes'}"

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Fleet:
    """L1: simulated workers with two slots: one holds a task for ever, the other takes one and hands in at once."""

    def __init__(self, calls: Calls, workers: int) -> None:
        self.calls = calls
        self.held: dict[str, dict[str, Any]] = {}
        self.workers = [str(uuid4()) for _ in range(workers)]
        self.digest, self._content = _checkpoint(1024)
        self._stored = False

    def register(self) -> None:
        body = {"device": "none", "slots": 2, "datasets": [digits().model_dump(mode="json")]}
        for number, worker in enumerate(self.workers):
            self.calls.send("register", "PUT", f"/v1/worker/workers/{worker}", json=body | {"name": f"w{number}"})

    def hold(self, worker: str) -> None:
        """Lease the task that this worker keeps."""
        while worker not in self.held:
            answer = self.claim(worker, "first claim", 10)
            if answer is not None:
                self.held[worker] = answer
                self.store(answer)

    def store(self, lease: dict[str, Any]) -> None:
        """Upload the checkpoint that all results name, once."""
        if not self._stored:
            self.calls.send(
                "upload", "PUT", f"/v1/worker/artifacts/{self.digest}", params=_fence(lease), content=self._content
            )
            self._stored = True

    def claim(self, worker: str, kind: str, wait: float = 0, due: float | None = None) -> dict[str, Any] | None:
        body = {"worker": worker, "request_id": str(uuid4()), "wait_seconds": wait}
        answer = self.calls.send(kind, "POST", "/v1/worker/leases", due=due, json=body)
        return answer.json() if answer.status_code == httpx.codes.OK else None

    def beat(self, worker: str, due: float, *, reports: bool) -> None:
        lease = self.held[worker]
        step = time.monotonic_ns() // MB
        report = {"step": step, "epoch": 0.5, "validation_accuracy": 0.5}
        path = f"/v1/worker/tasks/{lease['task']}/attempts/{lease['attempt']}/heartbeat"
        body = {"fraction": 0.5, "reports": [report] if reports else []}
        self.calls.send("report" if reports else "heartbeat", "POST", path, due=due, json=body)

    def turn(self, worker: str, due: float) -> None:
        """Claim a task and hand its result in."""
        lease = self.claim(worker, "claim", due=due)
        if lease is not None:
            path = f"/v1/worker/tasks/{lease['task']}/attempts/{lease['attempt']}/result"
            self.calls.send("result", "PUT", path, json={"result": _outcome(self.digest)})

    def events(self, began: float, seconds: float) -> Iterator[tuple[float, Callable[[float], None]]]:
        """What is due when: every worker's beats and reports, and ten claims a second."""
        due: list[tuple[float, int, str, str]] = []
        for number, worker in enumerate(self.workers):
            share = number / len(self.workers)
            heapq.heappush(due, (began + 10 * share, number, "beat", worker))
            heapq.heappush(due, (began + 2 * share, number, "report", worker))
        heapq.heappush(due, (began, 0, "claim", ""))
        turns = 0
        while due[0][0] < began + seconds:
            moment, number, kind, worker = heapq.heappop(due)
            pause = {"beat": 10.0, "report": 2.0, "claim": 0.1}[kind]
            heapq.heappush(due, (moment + pause, number, kind, worker))
            if kind == "claim":
                worker = self.workers[turns % len(self.workers)]
                turns += 1
                yield moment, lambda at, w=worker: self.turn(w, at)  # type: ignore[misc]
            else:
                yield moment, lambda at, w=worker, r=kind == "report": self.beat(w, at, reports=r)  # type: ignore[misc]


def many_workers(name: str, workers: int, seconds: float, idlers: int = 0) -> None:
    """L1, and beside ``idlers`` S11."""
    share = idlers // 4
    manners = {SILENT: idlers - 3 * share, SLOW_HEAD: share, SLOW_BODY: share, TOKENLESS: share}
    with (
        serving() as server,
        server.client() as admin,
        Crowd(server.port, manners, drip_seconds=DRIP_SECONDS, again=True) as crowd,
    ):
        calls = Calls(server, "worker")
        fleet = Fleet(calls, workers)
        fleet.register()
        body = submission("load", 10_000, "random")
        admin.post("/v1/experiments", json=body).raise_for_status()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(fleet.hold, fleet.workers))
            before, began = server.resident(), time.perf_counter()
            sent = []
            for due, act in fleet.events(began, seconds):
                time.sleep(max(0.0, due - time.perf_counter()))
                sent.append(pool.submit(act, due))
            for call in sent:
                # A call that got no answer is no quick one.
                call.result()
        drift = server.resident() / before - 1
        print(f"{name}: {workers} workers for {seconds:g} s\n")
        if idlers:
            print(f"beside {idlers} slow connections, of which the server has ended {crowd.ended}\n")
        print("| call | number | p50 | p95 | p99 |\n|---|---:|---:|---:|---:|")
        print("\n".join(calls.row(kind) for kind in ("heartbeat", "report", "claim", "result")))
        print(f"\n{calls.told}; resident memory {before / MB:.0f} MB, {100 * drift:+.1f} % at the end\n")
        calls.close()


def many_trials(trials: int, asks: int) -> None:
    """L3."""
    with serving() as server, server.client() as admin:
        worker = Calls(server, "worker")
        fleet = Fleet(worker, 1)
        experiment = admin.post("/v1/experiments", json=submission("large", trials, "auto")).raise_for_status().json()
        search = experiment["stage_searches"][0]["id"]
        # Nothing is asked ahead as long as there are no workers, so that the first ordinals are free.
        _fill(server, search, trials - asks)
        while _sql(server, f"SELECT count(*) FROM stagetune.trial WHERE search_id = '{search}' AND projected IS NULL"):
            time.sleep(1)
        fleet.register()
        reader = Calls(server, "admin")
        for _ in range(20):
            reader.send("list of experiments", "GET", "/v1/experiments")
            reader.send("experiment", "GET", f"/v1/experiments/{experiment['id']}")
            reader.send("page of the experiment", "GET", f"/experiments/{experiment['id']}")
            reader.send("trials of the search", "GET", f"/v1/searches/{search}/trials")
        for _ in range(asks):
            began = time.perf_counter()
            while (lease := fleet.claim(fleet.workers[0], "wait", 30)) is None:
                continue
            worker.seconds.setdefault("ask and claim", []).append(time.perf_counter() - began)
            fleet.store(lease)
            path = f"/v1/worker/tasks/{lease['task']}/attempts/{lease['attempt']}/result"
            worker.send("result", "PUT", path, json={"result": _outcome(fleet.digest)})
        print(f"L3: a search of {trials} trials, {trials - asks} of which have ended\n")
        print("| call | number | p50 | p95 | p99 |\n|---|---:|---:|---:|---:|")
        print("\n".join(reader.row(kind) for kind in reader.seconds))
        print(worker.row("ask and claim"))
        print(f"\nreader: {reader.told}; worker: {worker.told}\n")
        reader.close()
        worker.close()


def large_uploads(uploads: int, megabytes: int) -> None:
    """L4."""
    with serving() as server, server.client() as admin:
        calls = Calls(server, "worker")
        fleet = Fleet(calls, 1)
        fleet.register()
        admin.post("/v1/experiments", json=submission("uploads", 10, "random")).raise_for_status()
        fleet.hold(fleet.workers[0])
        (lease,) = fleet.held.values()
        files = [_checkpoint(megabytes * MB) for _ in range(uploads)]
        before, peak, done = server.resident(), [0], threading.Event()

        def observe() -> None:
            while not done.wait(0.02):
                peak[0] = max(peak[0], server.resident())

        observer = threading.Thread(target=observe)
        observer.start()
        began = time.perf_counter()

        def upload(file: tuple[str, bytes]) -> int:
            digest, content = file
            pieces = (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
            path, headers = f"/v1/worker/artifacts/{digest}", {"Content-Length": str(len(content))}
            return calls.send("upload", "PUT", path, params=_fence(lease), content=pieces, headers=headers).status_code

        with ThreadPoolExecutor(uploads) as pool:
            statuses = list(pool.map(upload, files))
        seconds = time.perf_counter() - began
        done.set()
        observer.join()
        assert statuses == [201] * uploads, statuses
        rate, grown = uploads * megabytes / seconds, (peak[0] - before) / MB
        print(f"L4: {uploads} uploads of {megabytes} MB at once\n")
        print(f"{rate:.0f} MB/s; resident memory {before / MB:.0f} MB, {grown:+.0f} MB at its highest; digests match\n")
        calls.close()


def many_followers(followers: int, seconds: float) -> None:
    """L5."""
    with serving() as server, server.client() as admin:
        experiment = admin.post("/v1/experiments", json=submission("followed", 10, "random")).json()["id"]
        ended: list[float] = []
        following = threading.Barrier(followers + 1)

        def follow() -> None:
            with server.client() as client, client.stream("GET", f"/v1/experiments/{experiment}/events") as stream:
                lines = stream.iter_lines()
                next(lines)
                following.wait()
                for _ in lines:
                    pass
            ended.append(time.perf_counter())

        threads = [threading.Thread(target=follow, daemon=True) for _ in range(followers)]
        for thread in threads:
            thread.start()
        following.wait(120)
        held = [_transactions(server) for _ in _every(0.2, seconds)]
        asked = time.perf_counter()
        server.process.terminate()
        code = server.process.wait(60)
        took = time.perf_counter() - asked
        for thread in threads:
            thread.join(10)
        print(f"L5: {followers} followers for {seconds:g} s\n")
        print(
            f"open transactions, in {len(held)} looks: {sum(held) / len(held):.1f} on average, {max(held)} at most; "
            f"SIGTERM to exit {took:.1f} s with code {code}; {len(ended)} streams ended in good order\n"
        )


def _every(pause: float, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)


def _transactions(server: Server) -> int:
    """Connections of the server that hold a transaction open now."""
    ours = "application_name = 'stagetune' AND state LIKE '%in transaction%'"
    return int(_sql(server, f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"))


def _fill(server: Server, search: str, trials: int) -> None:
    """Finished trials; the planner shows them in Optuna's tables."""
    _sql(
        server,
        f"""
        INSERT INTO stagetune.trial (id, search_id, ordinal, learning_rate, regularization, origin, state, value,
                                     finished_at)
        SELECT gen_random_uuid(), '{search}', n - 1, 0.0001 * 2000 ^ random(), 0.000001 * 100000 ^ random(), 'model',
               'complete', random(), now()
        FROM generate_series(1, {trials}) n
        """,
    )


def _sql(server: Server, statement: str) -> Any:
    connection = psycopg2.connect(server.database_url.replace("+psycopg2", "", 1))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]
    finally:
        connection.close()


def _checkpoint(size: int) -> tuple[str, bytes]:
    """A safetensors file of one tensor of random bytes, after its SHA-256."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    content = struct.pack("<Q", len(header)) + header + secrets.token_bytes(size)
    return hashlib.sha256(content).hexdigest(), content


def _fence(lease: dict[str, Any]) -> dict[str, Any]:
    """Whose upload it is."""
    return {name: lease[name] for name in ("task", "attempt")}


def _outcome(digest: str) -> dict[str, Any]:
    memory = {"peak_bytes": 0, "method": "none", "analytic_bytes": 0, "resident_bytes": 0}
    return {
        "outcome": "complete",
        "validation_accuracy": 0.5,
        "training_accuracy": 0.5,
        "checkpoint": digest,
        "epochs": 1,
        "training_seconds": 0,
        "feature_seconds": 0,
        "evaluation_seconds": 0,
        "total_seconds": 0,
        "memory": memory,
    }


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench load")
    parser.add_argument("names", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--workers", type=int, default=200, help="L1")
    parser.add_argument("--seconds", type=float, help="L1 and L5 (600), S11 (60)")
    parser.add_argument("--trials", type=int, default=10_000, help="L3")
    parser.add_argument("--asks", type=int, default=20, help="L3")
    parser.add_argument("--uploads", type=int, default=8, help="L4")
    parser.add_argument("--megabytes", type=int, default=200, help="L4, each")
    parser.add_argument("--followers", type=int, default=100, help="L5")
    parser.add_argument("--idlers", type=int, default=1_000, help="S11")
    options = parser.parse_args()
    print(f"{describe('fastapi', 'uvicorn', 'sqlalchemy', 'optuna')}\n")
    measures: dict[str, Callable[[], None]] = {
        "L1": lambda: many_workers("L1", options.workers, options.seconds or 600),
        "L3": lambda: many_trials(options.trials, options.asks),
        "L4": lambda: large_uploads(options.uploads, options.megabytes),
        "L5": lambda: many_followers(options.followers, options.seconds or 600),
        "S11": lambda: many_workers("S11", S11_WORKERS, options.seconds or 60, options.idlers),
    }
    for name in options.names:
        measures[name]()
