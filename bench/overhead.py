"""Claim: 1,000 one-second trials on 16 slots take at most 8 % longer than they have to.

From the first lease to the last result, random sampler. A slot is a thread that does what a worker does for a trial: it
leases, beats, sleeps for a second, uploads a checkpoint of its own and reports. Ray Tune publishes 14 % for 10,000 such
trials on 16 processors (docs.ray.io, Tune's scalability page: 715 s, 625 s at least).
"""

import argparse
import threading
import time
from uuid import uuid4

import torch
from safetensors.torch import save

from bench.machine import describe
from bench.server import digits, serving, submission
from client.connection import read_token
from contract.tasks import Lease, LeaseRequest, Memory, TaskResult, TrainingOutcome, WorkerRegistration
from worker.client import ServerClient
from worker.control import Control
from worker.heartbeat import HeartbeatThread

RAY = "| Ray Tune, as published | 715 s | 625 s | 14 % |"


class Slots:
    """Threads that work one trial after the other, until all are done."""

    def __init__(self, url: str, token: str, slots: int, trials: int, seconds: float) -> None:
        self._url, self._token, self._trials, self._seconds = url, token, trials, seconds
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.first = self.last = 0.0
        self.finished = 0
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(slots)]
        self._ready = threading.Barrier(slots + 1)

    def start(self) -> None:
        """Register all slots; they wait for work."""
        for thread in self._threads:
            thread.start()
        self._ready.wait()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        client, worker = ServerClient(self._url, self._token), uuid4()
        beats = client.twin()
        registration = WorkerRegistration(name=f"slot-{number}", device="none", datasets=[digits()])
        timing = client.register(worker, registration)
        self._ready.wait()
        while not self._done.is_set():
            lease = client.lease(LeaseRequest(worker=worker, request_id=uuid4(), wait_seconds=1))
            if lease is None or lease.kind != "trial":
                continue
            with self._lock:
                self.first = self.first or time.perf_counter()
            with HeartbeatThread(beats, lease, Control(), timing.heartbeat_seconds):
                time.sleep(self._seconds)
                self._report(client, lease)
            self._count()
        client.depart(worker)
        client.close()
        beats.close()

    def _report(self, client: ServerClient, lease: Lease) -> None:
        digest = client.upload(save({"weight": torch.rand(256)}), lease)
        outcome = TrainingOutcome(
            outcome="complete", validation_accuracy=0.5, training_accuracy=0.5, checkpoint=digest,
            epochs=1, training_seconds=self._seconds, feature_seconds=0, evaluation_seconds=0,
            total_seconds=self._seconds,
            memory=Memory(peak_bytes=0, method="none", analytic_bytes=0, resident_bytes=0),
        )  # fmt: skip
        client.result(lease, TaskResult(result=outcome))

    def _count(self) -> None:
        with self._lock:
            self.finished += 1
            self.last = time.perf_counter()
            if self.finished >= self._trials:
                self._done.set()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench overhead")
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a trial sleeps")
    options = parser.parse_args()
    with serving() as server, server.client() as client:
        token = read_token(server.home / "worker-token")
        slots = Slots(server.url, token, options.slots, options.trials, options.seconds)
        slots.start()
        client.post("/v1/experiments", json=submission("overhead", options.trials, "random")).raise_for_status()
        slots.join()
    taken, ideal = slots.last - slots.first, options.trials * options.seconds / options.slots
    print(f"{options.trials} trials of {options.seconds:g} s on {options.slots} slots, random sampler\n")
    print(f"{describe('optuna', 'sqlalchemy', 'fastapi')}\n")
    print("| | first lease to last result | at least | over that |\n|---|---:|---:|---:|")
    print(f"| ours | {taken:.1f} s | {ideal:.1f} s | {100 * (taken / ideal - 1):.1f} % |\n{RAY}")
