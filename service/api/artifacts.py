"""Checkpoints in and out, named by content."""

import hashlib
import re
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from contract.tasks import StoredArtifact
from service.api.auth import WORKER, WORKER_OR_READ, GuardedRoute
from service.api.problems import responses
from service.api.services import Served
from service.domain.errors import DigestMismatch, NotFound, RangeNotSatisfiable
from service.usecases.record_artifact import record_artifact

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["artifacts"])

# The store has a limit of its own, from the settings; the application's limit for documents does not apply here.
_NO_LIMIT = 2**62
_CHUNK = 1024**2
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


@router.put(
    "/worker/artifacts/{sha256}",
    dependencies=[WORKER],
    max_body_size=_NO_LIMIT,
    responses={
        200: {"model": StoredArtifact, "description": "The server had it already"},
        **responses("digest-mismatch", "invalid-artifact", "body-too-large", "storage-full"),
    },
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_artifact(sha256: str, request: Request, response: Response, services: Served) -> StoredArtifact:
    """Store a safetensors checkpoint; it appears only when its bytes have been verified and are durable."""
    stored = services.artifacts.find(sha256)
    if stored is not None:
        # Read to its end, so that the client is not cut off while it still sends, and held to the same promise.
        seen = hashlib.sha256()
        async for chunk in _chunks(request):
            await run_in_threadpool(seen.update, chunk)
        if seen.hexdigest() != sha256:
            raise DigestMismatch("the bytes received do not have the SHA-256 in the address; send them again")
        response.status_code = 200
    else:
        with services.artifacts.upload(sha256) as upload:
            async for chunk in _chunks(request):
                await run_in_threadpool(upload.write, chunk)
            stored = await run_in_threadpool(upload.finish)
    # Repeated for a file that is there already: a crash may have come between the file and its row.
    await run_in_threadpool(record_artifact, services.store, stored.sha256, stored.size)
    return StoredArtifact(sha256=stored.sha256, size=stored.size)


@router.api_route(
    "/artifacts/{sha256}",
    methods=["GET"],
    dependencies=[WORKER_OR_READ],
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {
            "description": "The part that `Range` asks for",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **responses("not-found", "range-not-satisfiable"),
    },
)
def download_artifact(sha256: str, request: Request, services: Served) -> FileResponse:
    """The bytes of an artifact, as an attachment; with a `Range` of one part, that part."""
    stored = services.artifacts.find(sha256)
    if stored is None:
        raise NotFound("there is no artifact of this name")
    _check_range(request.headers.get("range"), stored.size)
    return FileResponse(
        stored.path,
        media_type="application/octet-stream",
        filename=f"{sha256}.safetensors",
        headers={"ETag": f'"{sha256}"', "Cache-Control": "private, immutable, max-age=31536000"},
    )


@router.head(
    "/artifacts/{sha256}", dependencies=[WORKER_OR_READ], response_class=Response, responses=responses("not-found")
)
def find_artifact(sha256: str, services: Served) -> Response:
    """Whether the server holds an artifact, and its size."""
    stored = services.artifacts.find(sha256)
    if stored is None:
        raise NotFound("there is no artifact of this name")
    return Response(
        media_type="application/octet-stream", headers={"ETag": f'"{sha256}"', "Content-Length": str(stored.size)}
    )


def _check_range(text: str | None, size: int) -> None:
    """Refuse what the file's answer would refuse in words of its own, and more than one part. No range is none."""
    if text is None:
        return
    found = _RANGE.fullmatch(text)
    first, last = (found[1], found[2]) if found else ("", "")
    start = int(first) if first else size - min(int(last or 0), size)
    if not (first or last) or start >= size or (first and last and int(last) < start):
        raise RangeNotSatisfiable(
            f"Range is to name one part of these {size} bytes: bytes=0-99, bytes=100- or bytes=-100"
        )


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
