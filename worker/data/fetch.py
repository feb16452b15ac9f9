"""Download a built-in data set from the Hugging Face hub, verified against the hub's and our own checksums."""

from collections.abc import Mapping
from pathlib import Path
from shutil import move

from worker.data.catalogue import CATALOGUE, PARQUET_FILES, CatalogueEntry
from worker.data.errors import DataError
from worker.data.library import available, download_folder
from worker.data.store import DatasetInfo, file_sha256


def fetch(name: str, home: Path) -> DatasetInfo:
    """Download and verify a data set. Raises DataError if it is unknown, out of reach or not what it should be."""
    entry = CATALOGUE.get(name)
    if entry is None:
        raise DataError(f"{name} is no built-in data set; there are {', '.join(CATALOGUE)}")
    if entry.repository is not None:
        _download(entry, download_folder(home, name))
    found = next((info for info in available(home, None) if info.name == name), None)
    if found is None:
        folder = download_folder(home, name)
        raise DataError(f"{name} was fetched but cannot be decoded; delete {folder} and fetch it again")
    return found


def verify(path: Path, hub_sha256: str | None, pinned: Mapping[str, str]) -> None:
    """Raise DataError unless a file has the checksum the hub states and the one we have pinned, if we have."""
    actual = file_sha256(path)
    for source, expected in (("the hub", hub_sha256), ("stagetune", pinned.get(path.name))):
        if expected is not None and actual != expected:
            raise DataError(f"{path.name} has the SHA-256 {actual}, {source} says {expected}; fetch it again later")
    if hub_sha256 is None and path.name not in pinned:
        raise DataError(f"{path.name} has no checksum to verify it by; put the files into STAGETUNE_DATASETS yourself")


def _download(entry: CatalogueEntry, folder: Path) -> None:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    assert entry.repository is not None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        siblings = HfApi().dataset_info(entry.repository, files_metadata=True).siblings or []
        for name in PARQUET_FILES.values():
            sibling = next((each for each in siblings if each.rfilename.rpartition("/")[2] == name), None)
            if sibling is None:
                raise DataError(f"{entry.repository} has no {name} any more; put it into STAGETUNE_DATASETS yourself")
            partial = folder / ".partial"
            got = Path(hf_hub_download(entry.repository, sibling.rfilename, repo_type="dataset", local_dir=partial))
            verify(got, sibling.lfs.sha256 if sibling.lfs else None, entry.files)
            move(got, folder / name)
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise DataError(
            f"{entry.name} cannot be fetched: {error}; "
            f"put its files into {entry.name}/ of the folder that STAGETUNE_DATASETS names"
        ) from error
