"""Ten times the text is about ten times the work: nothing that reads input can be made to take the square of it."""

# ruff: noqa: E501 - tables of inputs

import json
from collections.abc import Callable
from contextlib import suppress
from time import thread_time
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from contract.base import PositiveInt
from contract.submission import Duration, Size
from service.api import dashboard, guard
from service.api.documents import read_document, read_json
from service.api.submissions import read_submission, understand
from service.domain.errors import StagetuneError
from service.domain.experiment import Dataset
from service.domain.notation import parse
from service.domain.quantities import parse_duration, parse_size

DOTS = Dataset("dots", "d" * 64, (1, 8, 8), 10, 1437, 360)
YAML = "application/yaml"
# With the square of the length ten times the text is a hundred times the work.
MOST = 40


def submitted(document: dict[str, Any]) -> None:
    body = json.dumps({"name": "a", "dataset": {"name": "dots"}, **document}).encode()
    understand(read_submission(body, "application/json"), lambda _: DOTS)


def with_variants(count: int, **more: Any) -> dict[str, Any]:
    names = [f"{'ab' * 90}{number:05}" for number in range(count)]
    variants = [{"architecture": name[::-1] if not more else name, "learning": "total", **more} for name in names]
    return {"architectures": {name: ["Conv-3-4", "Conv-3-4"] for name in names}, "variants": variants}


WORK: dict[str, Callable[[int], object]] = {
    "digits of a quoted number": lambda n: TypeAdapter(PositiveInt).validate_python("9" * n + "x"),
    "blanks of a quoted number": lambda n: TypeAdapter(PositiveInt).validate_python(" " * n + "x"),
    "digits behind the point": lambda n: TypeAdapter(PositiveInt).validate_python("9." + "9" * n + "x"),
    "digits of a size": lambda n: TypeAdapter(Size).validate_python("9" * n + ".9"),
    "blanks of a duration": lambda n: TypeAdapter(Duration).validate_python("9" + " " * n + "x"),
    "a size, understood": lambda n: parse_size("9" * n + " " * n + "G"),
    "a duration, understood": lambda n: parse_duration("9" + " " * n + "!"),
    "filters of a layer": lambda n: parse("Conv-3-" + "4" * n + "x"),
    "hyphens of a layer": lambda n: parse("conv-" + "3-" * n),
    "words of a stage": lambda n: parse("conv-3-4x " * (n // 10)),
    "a host": lambda n: guard._HOST.fullmatch("a" + "-" * n + "!"),
    "digits of a host": lambda n: guard._HOST.fullmatch("[" + "0:" * n + "]"),
    "a query of the dashboard": lambda n: dashboard._QUERY.fullmatch(b"after=1&" * n + b"after="),
    "a file of the dashboard": lambda n: dashboard._FILE.fullmatch("a/" * n + "!"),
    "dots of a file": lambda n: dashboard._FILE.fullmatch("a." * n + "/"),
    "numbers of YAML": lambda n: read_document(b"a: " + b"9" * n + b"x", YAML),
    "points of YAML": lambda n: read_document(b"a: " + b".9" * n, YAML),
    "exponents of YAML": lambda n: read_document(b"a: 1" + b"e9" * n, YAML),
    "blanks of YAML": lambda n: read_document(b"a:" + b" " * n + b"b", YAML),
    "quotes of YAML": lambda n: read_document(b"a: '" + b"''" * n, YAML),
    "items of YAML": lambda n: read_document(b"a: [" + b"1," * (n // 20) + b"1]", YAML),
    "keys of JSON": lambda n: read_json(json.dumps(dict.fromkeys(map(str, range(n // 10)))).encode(), "application/json"),
    "the same key in JSON": lambda n: read_json(b"{" + b'"a":1,' * (n // 10) + b'"a":1}', "application/json"),
    "backslashes of JSON": lambda n: read_json(b'"' + b"\\\\" * n + b'"', "application/json"),
    "brackets of JSON": lambda n: read_json(b"[" * n, "application/json"),
    "a media type": lambda n: read_json(b"1", "application/json;" + "a=b;" * (n // 10)),
    "a quote in a media type": lambda n: read_json(b"1", 'application/json;x="' + ";" * n),
    "architectures that are not there": lambda n: submitted(with_variants(n // 60)),
    "an unknown key": lambda n: submitted({"prio" * (n // 4): 1}),
}  # fmt: skip


@pytest.mark.parametrize("work", WORK.values(), ids=WORK.keys())
def test_work_grows_with_the_text_and_not_with_its_square(work: Callable[[int], object]) -> None:
    def measured(size: int) -> float:
        started = thread_time()
        with suppress(StagetuneError, ValidationError, ValueError):
            work(size)
        return thread_time() - started

    small = max(min(measured(6_000) for _ in range(3)), 1e-4)
    large = min(measured(60_000) for _ in range(3))
    assert large < MOST * small, f"{large / small:.0f} times the work"
