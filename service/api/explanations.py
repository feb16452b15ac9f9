"""What problem types mean and what to do about them, for people who follow one; docs/errors.md has the same words."""

from collections.abc import Mapping
from typing import NamedTuple

from contract.problems import ProblemType


class Explanation(NamedTuple):
    """Of a problem type; code stands between backticks."""

    happened: str
    help: str


EXPLANATIONS: Mapping[ProblemType, Explanation] = {
    "malformed-body": Explanation(
        "neither JSON nor YAML, not UTF-8, too deep, too many values",
        "mend the document, and keep to the limits",
    ),
    "unauthenticated": Explanation(
        "no token or session, or one that is unknown, expired or revoked",
        "`stagetune token create`, `stagetune open`",
    ),
    "forbidden": Explanation(
        "the token's scope does not reach here, or the request came from another site",
        "use a token of the scope named",
    ),
    "not-found": Explanation(
        "no such thing",
        "`stagetune list`",
    ),
    "method-not-allowed": Explanation(
        "the address exists, the method does not",
        "see `/openapi.json`",
    ),
    "conflict": Explanation(
        "the state of the thing does not allow it, e.g. pausing what has ended",
        "look at its state",
    ),
    "request-timeout": Explanation(
        "the body paused for longer than `STAGETUNE_BODY_SECONDS`, or kept coming with less than 1,000 bytes a second",
        "send it again over a better connection",
    ),
    "too-many-experiments": Explanation(
        "as many experiments are open as the server takes",
        "wait until one has ended, or cancel one",
    ),
    "lease-lost": Explanation(
        "the attempt was superseded or its task cancelled",
        "stop working on it",
    ),
    "draining": Explanation(
        "the worker that asks for a task is being drained",
        "let it leave; `stagetune workers undrain`",
    ),
    "artifact-damaged": Explanation(
        "the bytes of a checkpoint are gone from the store, or no longer what their name says",
        "restore them, or let their training run again; see artifacts.md",
    ),
    "body-too-large": Explanation(
        "beyond the limit for this route",
        "send less",
    ),
    "unsupported-media-type": Explanation(
        "another `Content-Type` than the address reads, another character set than UTF-8, a `Content-Encoding`",
        "send plain `application/json`, a submission also as `application/yaml`",
    ),
    "range-not-satisfiable": Explanation(
        "an artifact has no such bytes",
        "ask for bytes that `Content-Range` says are there",
    ),
    "invalid-submission": Explanation(
        "the submission contradicts itself or the data set",
        "see `faults`",
    ),
    "invalid-request": Explanation(
        "the request does not have the published form: a key twice, NaN, text no database can store, an unknown query "
        "parameter ...",
        "see `faults`",
    ),
    "unknown-dataset": Explanation(
        "not built in, and no worker holds it",
        "`stagetune data add`, `stagetune data fetch`",
    ),
    "result-conflict": Explanation(
        "another result of this attempt was accepted before",
        "nothing: the first one counts",
    ),
    "digest-mismatch": Explanation(
        "the bytes do not have the SHA-256 in the address",
        "send them again",
    ),
    "invalid-artifact": Explanation(
        "no sound safetensors file, or a checkpoint that was not uploaded",
        "upload the checkpoint first",
    ),
    "too-many-requests": Explanation(
        "too many requests or open event streams of one token, empty claims of one worker, or failed logins or guesses "
        "from one address",
        "wait as long as `Retry-After` says",
    ),
    "internal-error": Explanation(
        "our mistake",
        "please report it with what the server's log has of its `trace_id`",
    ),
    "database-unavailable": Explanation(
        "PostgreSQL is away, or takes no writes",
        "wait as long as `Retry-After` says; nothing is lost",
    ),
    "storage-full": Explanation(
        "the disk for artifacts is full, but for what is kept for the database, or cannot be written to",
        "make room; workers try again by themselves",
    ),
    "storage-unavailable": Explanation(
        "the bucket for artifacts is away, or the folder's disk does not answer or is not mounted",
        "wait as long as `Retry-After` says; see `/readyz`",
    ),
}
