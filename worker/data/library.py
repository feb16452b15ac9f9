"""The data sets a machine has: the built-in ones whose files it finds, and those registered."""

import logging
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from worker.data.catalogue import CATALOGUE, CatalogueEntry
from worker.data.custom import decode_path
from worker.data.decoding import decode_digits, decode_idx, decode_parquet, idx_files, parquet_files
from worker.data.errors import DataError
from worker.data.store import (
    Dataset,
    DatasetInfo,
    Decoded,
    Manifest,
    SourceFile,
    dataset_lock,
    describe_source,
    load,
    read_manifest,
    store,
    stored_names,
    write_manifest,
)

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def available(home: Path, datasets_dir: Path | None) -> list[DatasetInfo]:
    """The data sets this machine has. Known files are not decoded for it; what is visibly damaged is left out."""
    found = []
    for name in sorted({*CATALOGUE, *stored_names(home)}):
        try:
            found.append(_known(name, home, datasets_dir) or _opened(_prepare(name, home, datasets_dir), home))
        except DataError:
            continue
    return found


def open_dataset(name: str, home: Path, datasets_dir: Path | None, digest: str | None = None) -> Dataset:
    """Open a data set, decoding it if need be. Raises DataError if it is missing or its content is not ``digest``."""
    manifest = _prepare(name, home, datasets_dir)
    if digest is not None and manifest.info.digest != digest:
        raise DataError(
            f"{name} is here with the content {manifest.info.digest[:12]}, wanted is {digest[:12]}; "
            "submit again, or bring back the files it was submitted with"
        )
    dataset = load(home, manifest)
    entry = CATALOGUE.get(name)
    return dataset if entry is None else replace(dataset, class_names=entry.class_names)


def register(name: str, path: Path, home: Path) -> DatasetInfo:
    """Copy an image folder or an .npz file into this machine's data sets. Raises DataError."""
    if not NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name for a data set; use lower-case letters, digits, '.', '_' and '-'")
    if name in CATALOGUE:
        raise DataError(f"{name} is a built-in data set; choose another name")
    decoded = decode_path(path)
    with dataset_lock(home, name):
        return store(home, name, decoded, str(path.resolve()), ()).info


def download_folder(home: Path, name: str) -> Path:
    """Where ``fetch`` puts the files of a data set."""
    return home / "downloads" / name


def _folders(entry: CatalogueEntry, home: Path, datasets_dir: Path | None) -> list[Path]:
    own = [datasets_dir / entry.name] if datasets_dir else []
    return [*own, download_folder(home, entry.name), *map(Path, entry.folders)]


def _source_files(entry: CatalogueEntry, home: Path, datasets_dir: Path | None) -> list[Path] | None:
    """The files to decode, IDX or Parquet, from the first folder that has them all and may be read."""
    for folder in _folders(entry, home, datasets_dir):
        try:
            found = (idx_files(folder) if entry.layout == "idx" else None) or parquet_files(folder)
            for path in found.values() if found else ():
                path.open("rb").close()
        except OSError as error:
            # A mounted folder that belongs to somebody else must not keep the worker from its other data sets.
            log.warning("%s is passed over: %s", folder, error)
            continue
        if found:
            return list(found.values())
    return None


def _known(name: str, home: Path, datasets_dir: Path | None) -> DatasetInfo | None:
    """What the catalogue says of files it knows, so that nothing is decoded before it is used."""
    entry = CATALOGUE.get(name)
    if entry is None or entry.digest is None or read_manifest(home, name) is not None:
        return None
    if entry.layout == "digits":
        source = "scikit-learn"
    else:
        files = _source_files(entry, home, datasets_dir)
        if files is None or any(describe_source(path).sha256 != entry.files.get(path.name) for path in files):
            return None
        source = str(files[0].parent)
    return DatasetInfo(name, entry.digest, entry.shape, entry.classes, entry.train, entry.test, source)


def _opened(manifest: Manifest, home: Path) -> DatasetInfo:
    """What the manifest says, once its arrays can be opened, which reads none of the images. Raises DataError."""
    try:
        load(home, manifest)
    except DataError as error:
        _say_once(str(error))
        raise
    return manifest.info


@cache
def _say_once(fault: str) -> None:
    # A worker asks what it has before every claim.
    log.warning("not announced: %s", fault)


def _prepare(name: str, home: Path, datasets_dir: Path | None) -> Manifest:
    if not NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name of a data set")
    entry = CATALOGUE.get(name)
    with dataset_lock(home, name):
        manifest = read_manifest(home, name)
        if entry is None:
            if manifest is None:
                raise DataError(f"there is no data set {name} here; add it with `stagetune data add {name} PATH`")
            return manifest
        if entry.layout == "digits":
            return manifest or store(home, name, decode_digits(entry), "scikit-learn", ())
        files = _source_files(entry, home, datasets_dir)
        if manifest is not None and (files is None or _unchanged(manifest, files)):
            return manifest
        if files is None:
            raise DataError(_missing(entry))
        sources = tuple(describe_source(path) for path in files)
        if manifest is not None and _same_content(manifest.sources, sources):
            refreshed = Manifest(manifest.info, manifest.folder, sources, manifest.class_names)
            write_manifest(home, refreshed)
            return refreshed
        return store(home, name, _decode(entry, files), str(files[0].parent), sources)


def _unchanged(manifest: Manifest, files: list[Path]) -> bool:
    return [source.path for source in manifest.sources] == [str(path) for path in files] and all(
        source.untouched() for source in manifest.sources
    )


def _same_content(old: tuple[SourceFile, ...], new: tuple[SourceFile, ...]) -> bool:
    return [source.sha256 for source in old] == [source.sha256 for source in new]


def _decode(entry: CatalogueEntry, files: list[Path]) -> Decoded:
    folder = files[0].parent
    idx = idx_files(folder) if entry.layout == "idx" else None
    if idx:
        decoded = decode_idx(entry, idx)
    else:
        parquet = parquet_files(folder)
        if parquet is None:
            raise DataError(_missing(entry))
        decoded = decode_parquet(entry, parquet)
    channels, height, width = entry.shape
    if decoded.images.shape != (entry.train + entry.test, height, width, channels) or decoded.train != entry.train:
        found = decoded.images.shape
        raise DataError(f"{folder} holds images of shape {found}, which is not {entry.name}; fetch it again")
    return decoded


def _missing(entry: CatalogueEntry) -> str:
    debian = ", install Debian's package dataset-fashion-mnist" if entry.name == "fashion-mnist" else ""
    return (
        f"{entry.name} is not on this machine: fetch it with `stagetune data fetch {entry.name}`{debian}, "
        f"or put its files into {entry.name}/ of the folder that STAGETUNE_DATASETS names"
    )
