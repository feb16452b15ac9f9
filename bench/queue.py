"""Claim: a trial through the service costs less than Optuna's own ask and tell on the same database.

The service does more for it: a lease over HTTP, a fenced result, and Optuna's study kept in step. The workers are
threads that hand in a result at once, so that what is measured is the service. Instead: as many threads, each with
`study.ask()`, two `suggest_float` and `study.tell()` on the same embedded PostgreSQL. Random sampler for both.
"""

import argparse
import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path
from uuid import uuid4

import optuna
import torch
from safetensors.torch import save

from bench.machine import against, describe
from client import Client
from client.connection import read_token
from client.local import LocalStack
from client.signals import StopRequests
from contract.tasks import HeldDataset, Lease, LeaseRequest, Memory, TaskResult, TrainingOutcome, WorkerRegistration
from service.domain.datasets import known
from service.postgres import EmbeddedPostgres
from worker.client import LeaseLost, ServerClient

SPACE = {"learning_rate": (1e-4, 0.2), "regularization": (1e-6, 0.1)}


def through_the_service(stack: LocalStack, trials: int, threads: int) -> float:
    """Seconds from submission to the last result."""
    submission = {
        "name": "queue",
        "dataset": {"name": "digits"},
        "architectures": {"A": ["Conv-1-1"]},
        "phases": [{"epochs": 1, "trials": trials}],
        "search": {"sampler": "random"},
        "reuse": False,
    }
    checkpoint = save({"weight": torch.zeros(1)})
    done = threading.Event()
    with Client(stack.url, read_token(stack.home / "admin-token")) as client:
        workers = [
            threading.Thread(target=_work, args=(stack.url, read_token(stack.home / "worker-token"), checkpoint, done))
            for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        started = time.perf_counter()
        experiment = client.submit(submission)
        while client.experiment(experiment.id).trials_finished < trials:
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        done.set()
        for worker in workers:
            worker.join()
        client.cancel(experiment.id)
    return seconds


def _work(url: str, token: str, checkpoint: bytes, done: threading.Event) -> None:
    digits = known("digits")
    assert digits is not None
    assert digits.digest is not None
    held = HeldDataset(
        name="digits",
        digest=digits.digest,
        shape=digits.shape,
        classes=digits.classes,
        train=digits.train,
        test=digits.test,
    )
    client, worker = ServerClient(url, token, patience=10), uuid4()
    client.register(worker, WorkerRegistration(name="bench", device="none", datasets=[held]))
    outcome = TrainingOutcome(
        outcome="complete", validation_accuracy=0.5, training_accuracy=0.5,
        checkpoint=hashlib.sha256(checkpoint).hexdigest(),
        epochs=1, training_seconds=0, feature_seconds=0, evaluation_seconds=0, total_seconds=0,
        memory=Memory(peak_bytes=0, method="none", analytic_bytes=0, resident_bytes=0),
    )  # fmt: skip
    uploaded = False
    while not done.is_set():
        lease: Lease | None = client.lease(LeaseRequest(worker=worker, request_id=uuid4(), wait_seconds=1))
        if lease is None or lease.kind != "trial":
            continue
        try:
            if not uploaded:
                client.upload(checkpoint, lease)
                uploaded = True
            client.result(lease, TaskResult(result=outcome))
        except LeaseLost:
            continue
    client.depart(worker)


def through_optuna(storage: str, trials: int, threads: int) -> float:
    """Seconds for as many trials by ask and tell."""
    study = optuna.create_study(
        storage=storage, study_name=f"bench-{uuid4()}", sampler=optuna.samplers.RandomSampler(), direction="maximize"
    )
    left = threading.Semaphore(trials)

    def work() -> None:
        while left.acquire(blocking=False):
            trial = study.ask()
            for name, (low, high) in SPACE.items():
                trial.suggest_float(name, low, high, log=True)
            study.tell(trial, 0.5)

    return _timed([threading.Thread(target=work) for _ in range(threads)])


def _timed(threads: list[threading.Thread]) -> float:
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _quiet(_: str) -> None:
    """The stack's messages are no part of the table."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench queue")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as folder, StopRequests() as stops:
        home = Path(folder)
        home.chmod(0o711)
        # The measurement looks twenty times a second, which is more than a token may.
        os.environ["STAGETUNE_REQUESTS_PER_MINUTE"] = "0"
        with LocalStack(home, "127.0.0.1", 0, say=_quiet, stops=stops, devices=[]) as stack:
            storage = f"{EmbeddedPostgres(home).url}&options=-csearch_path%3Doptuna"
            through_the_service(stack, 10, options.threads)
            ours, theirs = [], []
            for _ in range(options.rounds):
                ours.append(through_the_service(stack, options.trials, options.threads))
                theirs.append(through_optuna(storage, options.trials, options.threads))
    per_trial = [1000 * seconds / options.trials for seconds in ours]
    instead = [1000 * seconds / options.trials for seconds in theirs]
    print(f"{options.trials} trials that train nothing, {options.threads} workers, {options.rounds} rounds in turns\n")
    print(
        f"{describe('optuna', 'sqlalchemy', 'fastapi')}; instead: optuna's ask and tell, same database, same threads\n"
    )
    print("| | median | range |\n|---|---|---|")
    print(against(per_trial, instead, "ms a trial"))
