"""``python -m worker``: one worker on one device, until drained. Exit codes: docs/worker-protocol.md."""

import argparse
import logging
import os
import platform
import socket
import sys
from pathlib import Path

import stamina.instrumentation
import torch

from contract.tasks import HeldDataset, WorkerRegistration
from worker.agent import Agent
from worker.client import ProtocolError, ServerClient, Unreachable
from worker.control import MachineFailed
from worker.data.library import available
from worker.jobs import Places, TorchExecutor
from worker.snapshots import INTERVAL_SECONDS
from worker.training.device import best_device, device_name

log = logging.getLogger("worker")

MAX_SNAPSHOT_SECONDS = 86_400

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAUTHORISED = 6
EXIT_TRY_LATER = 75


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # httpx logs every request; what matters is logged here.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # The same goes for retries.
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        agent = _agent(options)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        log.error("%s", (str(error) or type(error).__name__).splitlines()[0])
        return EXIT_USAGE
    try:
        agent.run()
    except (Unreachable, MachineFailed) as error:
        log.error("%s", error)
        return EXIT_TRY_LATER
    except ProtocolError as error:
        log.error("%s", error)
        return EXIT_UNAUTHORISED if error.code in ("unauthenticated", "forbidden") else EXIT_FAILED
    return 0


def _agent(options: argparse.Namespace) -> Agent:
    """The worker that these flags describe. Raises OSError, ValueError or what torch raises for a device it lacks."""
    token = _token(options.token_file)
    client = ServerClient(options.server, token, patience=options.patience, ca_file=options.ca_file)
    device = torch.device(options.device) if options.device else best_device()
    torch.empty(1, device=device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    places = Places(options.home, options.datasets, options.snapshot_seconds)

    def describe() -> WorkerRegistration:
        return _registration(options.name, device, places)

    execute = TorchExecutor(device, places, client, client.twin())
    return Agent(client, describe, execute, exit_when_idle=options.exit_when_idle)


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("STAGETUNE_HOME") or Path.home() / ".stagetune")
    datasets, threads = os.environ.get("STAGETUNE_DATASETS"), os.environ.get("STAGETUNE_WORKER_THREADS")
    token_file, ca_file = os.environ.get("STAGETUNE_TOKEN_FILE"), os.environ.get("STAGETUNE_CA_FILE")
    parser = argparse.ArgumentParser(prog="python -m worker", description="A stagetune worker on one device.")
    parser.add_argument("--server", default=os.environ.get("STAGETUNE_SERVER", "http://127.0.0.1:8000"))
    parser.add_argument("--token-file", type=Path, default=Path(token_file) if token_file else None)
    parser.add_argument("--ca-file", type=Path, default=Path(ca_file) if ca_file else None, help="PEM file to trust")
    parser.add_argument("--device", default="", help="cpu, cuda:0, mps; default: the best there is")
    parser.add_argument(
        "--threads",
        type=int,
        choices=range(1, 1025),
        metavar="N",
        default=threads or None,
        help="of the CPU; default: all cores",
    )
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}")
    parser.add_argument("--home", type=Path, default=home, help="checkpoints, features and decoded data sets")
    parser.add_argument("--datasets", type=Path, default=Path(datasets) if datasets else None)
    parser.add_argument(
        "--snapshot-seconds",
        type=_seconds,
        default=os.environ.get("STAGETUNE_SNAPSHOT_SECONDS") or INTERVAL_SECONDS,
        help="between two snapshots of a training",
    )
    parser.add_argument("--exit-when-idle", action="store_true", help="leave when no task is ready")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds without a server before giving up")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_SNAPSHOT_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_SNAPSHOT_SECONDS}")
    return seconds


def _token(file: Path | None) -> str:
    """The token from the file or STAGETUNE_TOKEN, never from a flag, which every process could read."""
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    token = os.environ.get("STAGETUNE_TOKEN", "").strip()
    if not token:
        raise ValueError("a worker needs a token: --token-file, STAGETUNE_TOKEN_FILE or STAGETUNE_TOKEN")
    return token


def _registration(name: str, device: torch.device, places: Places) -> WorkerRegistration:
    held = [
        HeldDataset(
            name=info.name, digest=info.digest, shape=info.shape, classes=info.classes, train=info.train, test=info.test
        )
        for info in available(places.home, places.datasets)
    ]
    return WorkerRegistration(
        name=name,
        device=str(device),
        datasets=held,
        info={
            "host": socket.gethostname(),
            "device": device_name(device),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "threads": str(torch.get_num_threads()),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
