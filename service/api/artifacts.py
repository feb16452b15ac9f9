"""Checkpoints in and out, named by content."""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from contract.tasks import StoredArtifact
from service.api.addresses import Attempt
from service.api.auth import OWN_IN_QUERY, WORKER, WORKER_OR_READ, GuardedRoute, identity_of
from service.api.problems import responses
from service.api.services import Served, Services
from service.artifacts.place import StoredFile
from service.artifacts.store import check_name
from service.domain.errors import DigestMismatch, RangeNotSatisfiable
from service.failpoints import reach
from service.usecases.check_attempt import check_attempt
from service.usecases.check_reader import check_reader
from service.usecases.record_artifact import record_artifact, reuse_artifact
from service.usecases.require_artifact import require_artifact

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["artifacts"])

# The store has a limit of its own, from the settings; the application's limit for documents does not apply here.
_NO_LIMIT = 2**62
_CHUNK = 1024**2
_MEDIA_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


@router.put(
    "/worker/artifacts/{sha256}",
    dependencies=[WORKER, OWN_IN_QUERY],
    max_body_size=_NO_LIMIT,
    responses={
        200: {"model": StoredArtifact, "description": "The server had it already"},
        **responses(
            "lease-lost",
            "not-found",
            "digest-mismatch",
            "invalid-artifact",
            "body-too-large",
            "storage-full",
            "storage-unavailable",
        ),
    },
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_artifact(
    sha256: str,
    request: Request,
    response: Response,
    services: Served,
    task: Annotated[UUID, Query(description="whose attempt sends it")],
    attempt: Annotated[Attempt, Query(description="refused once it is superseded")],
) -> StoredArtifact:
    """Store a safetensors checkpoint; it appears only when its bytes have been verified and are durable."""
    check_name(sha256)

    def begin() -> StoredFile | None:
        # Before the body: a superseded worker need not send it.
        check_attempt(services.store, task, attempt)
        return reuse_artifact(services.store, services.artifacts, sha256)

    stored = await run_in_threadpool(begin)
    if stored is not None:
        # Read to its end, so that the client is not cut off while it still sends, and held to the same promise.
        seen, size = hashlib.sha256(), 0
        async for chunk in _chunks(request):
            size += len(chunk)
            services.artifacts.check_size(size)
            await run_in_threadpool(seen.update, chunk)
        if seen.hexdigest() != sha256:
            raise DigestMismatch("the bytes received do not have the SHA-256 in the address; send them again")
        response.status_code = 200
    else:
        with services.artifacts.upload(sha256) as upload:
            async for chunk in _chunks(request):
                await run_in_threadpool(upload.write, chunk)
                reach("during-upload")
            stored = await run_in_threadpool(record_artifact, services.store, upload)
    return StoredArtifact(sha256=stored.sha256, size=stored.size)


@router.api_route(
    "/artifacts/{sha256}",
    methods=["GET"],
    dependencies=[WORKER_OR_READ],
    responses={
        200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
        206: {
            "description": "The part that `Range` asks for",
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **responses("not-found", "artifact-damaged", "range-not-satisfiable", "storage-unavailable"),
    },
)
def download_artifact(sha256: str, request: Request, services: Served) -> Response:
    """The bytes of an artifact, as an attachment; with a `Range` of one part, that part.

    They are checked before the first of them is sent. A worker gets what the tasks that it holds name.
    """
    stored = _find(request, services, sha256)
    tag, wanted = f'"{sha256}"', _part(request.headers.get("range"), stored.size)
    part = wanted if request.headers.get("if-range", tag) == tag else None
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable, max-age=31536000",
        "Content-Disposition": f'attachment; filename="{sha256}.safetensors"',
        "Content-Length": str(stored.size if part is None else len(part)),
    }
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
    # Opened before the answer begins: a collection at this moment is told, or takes away nothing but the name.
    content = services.artifacts.read(sha256, part)
    return StreamingResponse(content, 200 if part is None else 206, headers, _MEDIA_TYPE)


@router.head(
    "/artifacts/{sha256}",
    dependencies=[WORKER_OR_READ],
    response_class=Response,
    responses=responses("not-found", "artifact-damaged", "storage-unavailable"),
)
def find_artifact(sha256: str, request: Request, services: Served) -> Response:
    """Whether the server holds an artifact, and its size."""
    stored = _find(request, services, sha256)
    return Response(media_type=_MEDIA_TYPE, headers={"ETag": f'"{sha256}"', "Content-Length": str(stored.size)})


def _find(request: Request, services: Services, sha256: str) -> StoredFile:
    check_reader(services.store, check_name(sha256), identity_of(request))
    return require_artifact(services.store, services.artifacts, sha256)


def _part(text: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for; None without one. More than one part is refused."""
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    first, last = (found[1], found[2]) if found else ("", "")
    start = int(first) if first else size - min(int(last or 0), size)
    if not (first or last) or start >= size or (first and last and int(last) < start):
        raise RangeNotSatisfiable(
            f"Range is to name one part of these {size} bytes: bytes=0-99, bytes=100- or bytes=-100"
        )
    return range(start, min(int(last) + 1, size) if first and last else size)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte: each is a trip to a thread."""
    pending = bytearray()
    async for piece in request.stream():
        pending += piece
        if len(pending) >= _CHUNK:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)
