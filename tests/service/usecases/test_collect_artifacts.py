"""The collection of artifacts: all that nothing names goes, nothing that anything names, whatever crashed or runs."""

import os
import threading
from pathlib import Path

import pytest

from service.artifacts import ArtifactStore, Folder
from service.artifacts.place import StoredFile
from service.artifacts.store import Upload
from service.domain.errors import ArtifactDamaged, InvalidArtifact, NotFound, StorageUnavailable
from service.domain.leasing import FailureReason
from service.storage import Storage, artifacts
from service.storage.tasks import LeasedTask
from service.usecases.collect_artifacts import collect_artifacts, discard_artifacts
from service.usecases.record_artifact import record_artifact, reuse_artifact
from service.usecases.record_failure import record_failure
from service.usecases.record_result import record_result
from service.usecases.record_snapshot import record_snapshot
from service.usecases.require_artifact import require_artifact
from tests.service.api.helpers import checkpoint
from tests.service.lab import STRIKES, Lab

HOUR = 3600.0


@pytest.fixture
def files(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(Folder(tmp_path / "artifacts"), tmp_path / "artifacts" / "tmp", 100_000)


def upload(store: Storage, files: ArtifactStore, seed: int, age: float = 0) -> str:
    """An artifact that was uploaded ``age`` seconds ago."""
    sha256, data = checkpoint(seed)
    with files.upload(sha256) as arriving:
        arriving.write(data)
        record_artifact(store, arriving)
    make_old(store, files, sha256, age)
    return sha256


def make_old(store: Storage, files: ArtifactStore, sha256: str, age: float) -> None:
    with store.transaction() as tx:
        statement = "UPDATE artifact SET touched_at = now() - make_interval(secs => :age) WHERE sha256 = :sha256"
        tx.execute(statement, {"age": age, "sha256": sha256})
    path = files.place.path(sha256)
    assert path is not None
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))


def names(files: ArtifactStore) -> set[str]:
    return {file.sha256 for file in files.listing()}


def rows(lab: Lab) -> set[str]:
    return {row.sha256 for row in lab.rows("SELECT sha256 FROM artifact")}


def test_what_nothing_names_goes_after_the_grace(lab: Lab, files: ArtifactStore) -> None:
    old, young = upload(lab.store, files, 1, 2 * HOUR), upload(lab.store, files, 2)

    looked = collect_artifacts(lab.store, files, HOUR, dry=True)
    assert (looked.removed, names(files)) == (1, {old, young})
    gone = collect_artifacts(lab.store, files, HOUR)

    assert (gone.removed, gone.removed_bytes) == (looked.removed, looked.removed_bytes)
    assert names(files) == rows(lab) == {young}
    assert collect_artifacts(lab.store, files, HOUR).removed == 0


def test_what_anything_names_stays(lab: Lab, files: ArtifactStore) -> None:
    lab.submit()
    worker = lab.worker(slots=3)
    lab.plan()
    done, running = lab.take(worker), lab.take(worker)
    result, snapshot = upload(lab.store, files, 1, 2 * HOUR), upload(lab.store, files, 2, 2 * HOUR)
    record_result(lab.store, done.task, done.attempt, {**lab.outcome(done), "checkpoint": result})
    record_snapshot(lab.store, running.task, running.attempt, snapshot, 0.5)
    prefix, last = upload(lab.store, files, 3, 2 * HOUR), upload(lab.store, files, 4, 2 * HOUR)
    waiting = lab.value("SELECT id FROM task WHERE state = 'ready' LIMIT 1")
    lab.run(
        "UPDATE task SET work = work || jsonb_build_object('checkpoint', CAST(:last AS text),"
        " 'prefix', jsonb_build_array(jsonb_build_object('checkpoint', CAST(:prefix AS text)))) WHERE id = :id",
        id=waiting,
        prefix=prefix,
        last=last,
    )

    assert collect_artifacts(lab.store, files, HOUR).removed == 0
    assert discard_artifacts(lab.store, files, [result, snapshot, prefix, last]) == []
    assert names(files) == {result, snapshot, prefix, last}


def snapshotted(lab: Lab, files: ArtifactStore) -> tuple[LeasedTask, str]:
    """A lease, and the digest of its snapshot."""
    lab.submit()
    worker = lab.worker()
    lab.plan()
    lease = lab.take(worker)
    snapshot = upload(lab.store, files, 1)
    record_snapshot(lab.store, lease.task, lease.attempt, snapshot, 0.5)
    return lease, snapshot


def test_the_snapshot_of_a_task_that_has_ended_goes_at_once(lab: Lab, files: ArtifactStore) -> None:
    lease, snapshot = snapshotted(lab, files)
    lab.finish(lease)

    collect_artifacts(lab.store, files, HOUR)

    assert snapshot not in names(files) | rows(lab)


def test_a_snapshot_that_a_task_needs_no_more_stays_while_an_ended_one_names_it(lab: Lab, files: ArtifactStore) -> None:
    """The same training twice leaves the same bytes twice: of one that was cancelled, and of one that goes on."""
    lab.submit()
    worker = lab.worker(slots=2)
    lab.plan()
    ended, going_on = lab.take(worker), lab.take(worker)
    shared, newer = upload(lab.store, files, 1), upload(lab.store, files, 2)
    for lease in (ended, going_on):
        record_snapshot(lab.store, lease.task, lease.attempt, shared, 0.2)
    lab.run(
        "UPDATE task SET state = 'cancelled', worker_id = NULL, lease_expires_at = NULL, finished_at = now()"
        " WHERE id = :id",
        id=ended.task,
    )

    superseded = record_snapshot(lab.store, going_on.task, going_on.attempt, newer, 0.4)
    assert superseded == shared
    assert discard_artifacts(lab.store, files, [shared]) == []
    assert names(files) == rows(lab) == {shared, newer}

    make_old(lab.store, files, shared, 2 * HOUR)
    looked = collect_artifacts(lab.store, files, HOUR, dry=True)
    assert (looked.removed, looked.missing) == (1, [])
    assert collect_artifacts(lab.store, files, HOUR).removed == 1
    assert names(files) == rows(lab) == {newer}


def test_the_snapshot_of_a_failed_task_waits_for_a_retry_through_the_grace(lab: Lab, files: ArtifactStore) -> None:
    lease, snapshot = snapshotted(lab, files)
    record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)
    make_old(lab.store, files, snapshot, 2 * HOUR)

    assert collect_artifacts(lab.store, files, HOUR).removed == 0
    assert names(files) == rows(lab) == {snapshot}
    lab.run("UPDATE task SET finished_at = finished_at - interval '2 hours' WHERE id = :id", id=lease.task)
    assert collect_artifacts(lab.store, files, HOUR).removed == 1

    assert names(files) == rows(lab) == set()


def test_what_an_upload_that_was_cut_off_has_left_goes_as_well(lab: Lab, files: ArtifactStore, tmp_path: Path) -> None:
    """Of a server that was killed, while another one, or the next, goes on for months."""
    cut_off, going_on = (tmp_path / "artifacts" / "tmp" / name for name in ("cut-off", "going-on"))
    for path in (cut_off, going_on):
        path.write_bytes(b"half")
    os.utime(cut_off, (0, 0))
    assert collect_artifacts(lab.store, files, HOUR, dry=True).removed == 0
    assert cut_off.exists()
    collect_artifacts(lab.store, files, HOUR)
    assert not cut_off.exists()
    assert going_on.exists()


def test_bytes_without_a_row_go_after_the_grace(lab: Lab, files: ArtifactStore) -> None:
    old, young = upload(lab.store, files, 1), upload(lab.store, files, 2)
    make_old(lab.store, files, old, 2 * HOUR)
    lab.run("DELETE FROM artifact")

    assert collect_artifacts(lab.store, files, HOUR, dry=True).removed == 1
    assert collect_artifacts(lab.store, files, HOUR).removed == 1

    assert names(files) == {young}


class Crash(Exception):
    """The process ends here."""


def test_a_crash_anywhere_in_an_upload_leaves_nothing_that_counts(
    lab: Lab, files: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256, data = checkpoint(1)

    def crash(*_: object) -> None:
        raise Crash

    # Before the bytes are placed, then between them and their row.
    for place, method in ((Upload, "place"), (artifacts, "add")):
        with monkeypatch.context() as patch, files.upload(sha256) as arriving:
            arriving.write(data)
            patch.setattr(place, method, crash)
            with pytest.raises(Crash):
                record_artifact(lab.store, arriving)
        assert reuse_artifact(lab.store, files, sha256) is None
        worker = lab.worker()
        lab.submit(key=method)
        lab.plan()
        lease = lab.take(worker)
        with pytest.raises(InvalidArtifact):
            record_result(lab.store, lease.task, lease.attempt, {**lab.outcome(lease), "checkpoint": sha256})
    make_old(lab.store, files, sha256, 2 * HOUR)
    collect_artifacts(lab.store, files, HOUR)
    assert sha256 not in names(files) | rows(lab)


def test_a_crash_between_the_bytes_and_the_end_of_their_row_is_mended(
    lab: Lab, files: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = upload(lab.store, files, 1, 2 * HOUR)
    remove = files.remove

    def crash(name: str) -> None:
        remove(name)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", crash)
        with pytest.raises(Crash):
            collect_artifacts(lab.store, files, HOUR)
    assert (names(files), rows(lab)) == (set(), {sha256})
    assert lab.rows("SELECT FROM artifact WHERE stored") == [], "bytes are promised that are not there"
    assert reuse_artifact(lab.store, files, sha256) is None, "the row alone does not spare an upload"
    assert upload(lab.store, files, 1) == sha256
    assert require_artifact(lab.store, files, sha256).size > 0


def test_a_crash_before_the_bytes_go_leaves_them_to_the_next_collection(
    lab: Lab, files: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = upload(lab.store, files, 1, 2 * HOUR)

    def crash(_: str) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", crash)
        with pytest.raises(Crash):
            collect_artifacts(lab.store, files, HOUR)
    assert names(files) == rows(lab) == {sha256}
    assert reuse_artifact(lab.store, files, sha256) is None, "what is about to go is not to be had"
    collect_artifacts(lab.store, files, HOUR)
    assert names(files) == rows(lab) == set()


def test_an_upload_at_the_moment_of_its_collection_ends_with_bytes_and_row(
    lab: Lab, files: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = upload(lab.store, files, 1, 2 * HOUR)
    collecting, go_on = threading.Event(), threading.Event()
    remove = files.remove

    def slowly(name: str) -> None:
        collecting.set()
        assert go_on.wait(60)
        remove(name)

    monkeypatch.setattr(files, "remove", slowly)
    collector = threading.Thread(target=collect_artifacts, args=(lab.store, files, HOUR))
    collector.start()
    assert collecting.wait(60)
    uploader = threading.Thread(target=upload, args=(lab.store, files, 1))
    uploader.start()
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%artifact%'"
    while not lab.rows(waits):
        assert uploader.is_alive()
    go_on.set()
    collector.join(60)
    uploader.join(60)

    assert names(files) == rows(lab) == {sha256}
    assert require_artifact(lab.store, files, sha256).size > 0


def test_an_upload_whose_name_is_discarded_meanwhile_is_asked_for_again(
    lab: Lab, files: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers bring the same snapshot; the first one's is superseded while the second one's is on its way."""
    sha256 = upload(lab.store, files, 1)
    damaged = files.place.path(sha256)
    assert damaged is not None
    damaged.write_bytes(b"rubbish")  # so that it is uploaded once more
    place = Upload.place

    def place_and_lose(arriving: Upload) -> StoredFile:
        stored = place(arriving)
        assert len(discard_artifacts(lab.store, files, [sha256])) == 1
        return stored

    with monkeypatch.context() as patch:
        patch.setattr(Upload, "place", place_and_lose)
        with pytest.raises(StorageUnavailable):
            upload(lab.store, files, 1)

    assert names(files) == rows(lab) == set()
    assert upload(lab.store, files, 1) == sha256
    assert require_artifact(lab.store, files, sha256).size > 0


def test_a_name_that_was_only_announced_is_not_discarded_at_once(lab: Lab, files: ArtifactStore) -> None:
    sha256, data = checkpoint(1)
    with files.upload(sha256) as arriving:
        arriving.write(data)
        with lab.store.transaction() as tx:
            artifacts.announce(tx, sha256)
        assert discard_artifacts(lab.store, files, [sha256]) == []
        record_artifact(lab.store, arriving)
    assert require_artifact(lab.store, files, sha256).size > 0


def test_an_upload_after_another_ones_end_is_not_taken_for_it(lab: Lab) -> None:
    """Announced, discarded and announced by somebody else: the name is there again, these bytes are not."""
    sha256, _ = checkpoint(1)
    with lab.store.transaction() as tx:
        first = artifacts.announce(tx, sha256)
    lab.run("DELETE FROM artifact")
    with lab.store.transaction() as tx:
        second = artifacts.announce(tx, sha256)
    with lab.store.transaction() as tx:
        assert not artifacts.add(tx, sha256, 1, first)
        assert artifacts.add(tx, sha256, 1, second)


def test_bytes_that_are_gone_or_damaged_are_told_and_mended_by_an_upload(lab: Lab, files: ArtifactStore) -> None:
    lab.submit()
    worker = lab.worker()
    lab.plan()
    lease = lab.take(worker)
    sha256 = upload(lab.store, files, 1)
    record_result(lab.store, lease.task, lease.attempt, {**lab.outcome(lease), "checkpoint": sha256})
    path = files.place.path(sha256)
    assert path is not None
    with pytest.raises(NotFound):
        require_artifact(lab.store, files, "0" * 64)

    path.write_bytes(b"rubbish")
    with pytest.raises(ArtifactDamaged, match="damaged"):
        require_artifact(lab.store, files, sha256)
    assert collect_artifacts(lab.store, files, HOUR, dry=True).missing == [sha256]
    path.unlink()
    with pytest.raises(ArtifactDamaged, match="gone"):
        require_artifact(lab.store, files, sha256)
    assert collect_artifacts(lab.store, files, HOUR, dry=True).missing == [sha256]
    upload(lab.store, files, 1)
    assert collect_artifacts(lab.store, files, HOUR, dry=True).missing == []
