"""From a submission's text to its spec, or to all of its faults at once: of reading, of form and of meaning."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from contract.submission import Submission
from service.api.documents import Location, read_document
from service.api.faults import MOST, faults_of, path_of
from service.domain.errors import Fault, InvalidSubmission, UnknownDataset
from service.domain.experiment import Dataset, ExperimentSpec
from service.domain.submission import build_spec

# What takes the place of something faulty while the rest is checked; nothing else can contradict these.
_STAND_INS: dict[str, Any] = {
    "name": "unnamed",
    "phases": [{"epochs": 1, "trials": 10_000}],
    "training": {"batch_size": 1},
}
_ARCHITECTURE = ["Pool-1", "Pool-1"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as sent, its faults of form, and the submission: without what is faulty, None if little else is left.

    Only a reading without faults has a submission that may be run.
    """

    document: dict[str, Any]
    submission: Submission | None
    faults: tuple[Fault, ...] = ()


def read_submission(body: bytes, content_type: str) -> Reading:
    """Read a submission. Raises malformed-body for what is neither JSON nor YAML."""
    document, blemishes = read_document(body, content_type)
    places = {blemish.location for blemish in blemishes}
    errors: list[Any] = []
    submission: Submission | None = None
    try:
        submission = Submission.model_validate(document)
    except ValidationError as error:
        # What a blemish has left behind is no second fault, except under a key that should not be there at all.
        errors = [
            item
            for item in error.errors(include_url=False, include_input=False)
            if item["loc"] not in places or item["type"] == "extra_forbidden"
        ]
    if submission is not None and not blemishes:
        return Reading(document, submission)
    faults = [Fault(path_of(blemish.location), blemish.message) for blemish in blemishes]
    faults += [Fault(fault.path, fault.message) for fault in faults_of(errors, Submission)]
    return Reading(document, _rest(document, [*places, *(item["loc"] for item in errors)]), tuple(faults))


def understand(reading: Reading, find_dataset: Callable[[str], Dataset]) -> ExperimentSpec:
    """The spec of a submission. Raises InvalidSubmission with faults of form and of meaning, or UnknownDataset."""
    faults = list(reading.faults)
    if reading.submission is not None:
        try:
            spec = build_spec(reading.submission.model_dump(), find_dataset(reading.submission.dataset.name))
        except UnknownDataset as error:
            if not faults:
                raise
            faults += error.faults
        except InvalidSubmission as error:
            faults += error.faults
        else:
            if not faults:
                return spec
    raise InvalidSubmission(_in_order(faults[:MOST], reading.document))


def _rest(document: dict[str, Any], faulty: Sequence[Location]) -> Submission | None:
    """The submission with every faulty section replaced by one that contradicts nothing; None without a data set."""
    rest = deepcopy(document)
    for location in faulty:
        match location:
            case ("architectures", str(name), *_) if name in document["architectures"]:
                rest["architectures"][name] = _ARCHITECTURE
            case ("architectures", *_):
                rest["architectures"] = {"A": _ARCHITECTURE}
                rest.pop("variants", None)
            case ("dataset" | "limits" as section, str(key), *_) if isinstance(rest.get(section), dict):
                rest[section].pop(key, None)
            case (str(section), *_):
                rest.pop(section, None)
                if section in _STAND_INS:
                    rest[section] = _STAND_INS[section]
    # Under a mistyped key may stand the trials that its start points need.
    rest.setdefault("phases", _STAND_INS["phases"])
    try:
        return Submission.model_validate(rest)
    except ValidationError:
        return None


def _in_order(faults: Sequence[Fault], document: dict[str, Any]) -> list[Fault]:
    """By place in the document; what is missing from it comes first."""
    places = {path_of(location): number for number, location in enumerate(_locations(document, ()))}

    def place(fault: Fault) -> int:
        around = max((path for path in places if fault.path.startswith(path)), key=len, default=None)
        return -1 if around is None else places[around]

    return sorted(faults, key=place)


def _locations(value: Any, location: Location) -> Iterator[Location]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*location, key)
        yield from _locations(inner, (*location, key))
