from typing import Any

import pytest

from service.api.documents import MAX_DEPTH, MAX_KEYS, MAX_REPORT_NODES, MAX_TEXT, Location, read_document, read_json
from service.domain.errors import MalformedBody, UnsupportedMediaType

JSON = "application/json"
YAML = "application/yaml"
MINIMAL = "name: a\ndataset: {name: digits}\narchitectures:\n  CNN 1: [Conv-3-8 Pool-2]\n"


def test_yaml_and_json_mean_the_same() -> None:
    from_yaml = read_document(MINIMAL.encode(), "application/yaml; charset=utf-8")
    from_json = read_document(
        b'{"name": "a", "dataset": {"name": "digits"}, "architectures": {"CNN 1": ["Conv-3-8 Pool-2"]}}', JSON
    )
    assert from_yaml == from_json
    assert not from_yaml[1]


def test_yaml_reads_numbers_and_words_as_people_mean_them() -> None:
    text = b"a: 1e-4\nb: 010\nc: on\nd: 1:30\ne: 2024-01-01\nf: .5\ng: -1.5E3\nh: 12\ni: true\nj: ~\nk: no\n1: one\n"
    document, _ = read_document(text, YAML)
    assert document == {
        "a": 1e-4, "b": 10.0, "c": "on", "d": "1:30", "e": "2024-01-01", "f": 0.5, "g": -1500.0, "h": 12, "i": True,
        "j": None, "k": "no", "1": "one",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", JSON),
        (b"   ", YAML),
        (b"{", JSON),
        (b"nope", JSON),
        (b"[]", JSON),
        (b"1", YAML),
        (b'{"a": 1' + b"0" * 5000 + b"}", JSON),
        (b"\xff\xfe{\x00}\x00", JSON),
        (b"\xc3\x28", YAML),
        (b'{"a":' * 100_000, JSON),
        (b'{"a":' * 60 + b"1" + b"}" * 60, JSON),
        (b"[" * 100_000, YAML),
        (b"- " * 10_000, YAML),
        (b"a: [unclosed", YAML),
        (b"a: b: c", YAML),
        (b"a: \x00", YAML),
        (b"a: \x07", YAML),
        (b"a: &x [1]\nb: *x\n", YAML),
        (b"a: !!python/object/apply:os.system ['true']", YAML),
        (b"a: !mine b", YAML),
        (b"a: ! b", YAML),
        (b"a: !!int ''", YAML),
        (b"a: !!float ''", YAML),
        (b"a: !!bool foo", YAML),
        (b"a: !!timestamp foo", YAML),
        (b"a: !!map [1]", YAML),
        (b"a: !!set {x}", YAML),
        (b"a: !!binary aGk=", YAML),
        (b"a: !!str b", YAML),
        (b"!!int '': a", YAML),
        # In base 60, and in the square of its length.
        (b"a: !!int " + b":".join([b"1"] * 300_000), YAML),
        (b"? [1, 2]\n: a\n", YAML),
        (b"a: 1\n---\nb: 2\n", YAML),
        (b"\n".join(b"- {a: 1}" for _ in range(20_000)), YAML),
        (b"\xef\xbb\xbf{}", JSON),
        ('{"a": 1}'.encode("utf-16-le"), JSON),
        (b"a: 1\n".replace(b"", b"\0"), YAML),
        (b'{"a": [' + b"1," * 20_000 + b"1]}", JSON),
    ],
)
def test_what_is_no_document_is_malformed(body: bytes, kind: str) -> None:
    with pytest.raises(MalformedBody):
        read_document(body, kind)


@pytest.mark.parametrize(
    "kind",
    [
        "", ";", "json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1",
        "application/jsonp", "application/json, text/html", "multipart/form-data; boundary=x", "application/jso\u00f1",
    ],
)  # fmt: skip
def test_what_is_declared_as_something_else_is_not_looked_at(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read_document(b"{}", kind)
    with pytest.raises(UnsupportedMediaType):
        read_json(b"{}", kind)


def test_a_body_of_a_request_may_be_any_json_value_but_not_yaml() -> None:
    assert read_json(b"[1, {}]", "application/json; charset=UTF-8") == ([1, {}], [])
    with pytest.raises(UnsupportedMediaType):
        read_json(b"a: 1", YAML)


def test_a_byte_order_mark_is_taken_where_yaml_allows_it() -> None:
    assert read_document(b"\xef\xbb\xbfa: 1\n", YAML) == ({"a": 1}, [])


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def keys(count: int) -> bytes:
    return b"{" + b",".join(b'"%d":0' % number for number in range(count)) + b"}"


def test_the_limits_are_where_they_are_said_to_be() -> None:
    good: list[bytes] = [nested(MAX_DEPTH), keys(MAX_KEYS), b'"' + b"a" * MAX_TEXT + b'"', b"9007199254740992"]
    for body in good:
        assert read_json(body, JSON)[1] == []
    beyond: list[Any] = [nested(MAX_DEPTH + 2), keys(MAX_KEYS + 1), b"[" + b"1," * MAX_REPORT_NODES + b"1]"]
    for body in beyond:
        with pytest.raises(MalformedBody):
            read_json(body, JSON)
    for body in (b'"' + b"a" * (MAX_TEXT + 1) + b'"', b"9007199254740993", b"-9007199254740993"):
        document, [blemish] = read_json(body, JSON)
        assert (document, blemish.location) == (None, ())


@pytest.mark.parametrize(
    ("body", "kind", "location"),
    [
        (b'{"a": 1, "a": 2}', JSON, ("a",)),
        (b'{"a": [{"b": {"c": 1, "c": [2]}}]}', JSON, ("a", 0, "b", "c")),
        (b"a: 1\na: 2\n", YAML, ("a",)),
        (b"a:\n- b: {c: 1, c: [2]}\n", YAML, ("a", 0, "b", "c")),
        (b'{"a": {"b": "\\u0000"}}', JSON, ("a", "b")),
        (b'{"a": {"b\\u0000": 1}}', JSON, ("a",)),
        (b'{"a": ["\\ud800"]}', JSON, ("a", 0)),
        (b'{"a": NaN}', JSON, ("a",)),
        (b'{"a": [-Infinity]}', JSON, ("a", 0)),
        (b'{"a": 1e400}', JSON, ("a",)),
        (b'{"a": 90071992547409930}', JSON, ("a",)),
        (b"a: .nan", YAML, ("a",)),
        (b"a: -.inf", YAML, ("a",)),
    ],
)
def test_what_cannot_be_stored_or_compared_is_told_with_its_place(body: bytes, kind: str, location: Location) -> None:
    _, [blemish] = read_document(body, kind)
    assert blemish.location == location


def test_all_blemishes_are_told_and_nothing_of_them_stays() -> None:
    document, blemishes = read_document(b'{"a": NaN, "b": ["\\u0000", 1, Infinity], "c": 2, "c": 3}', JSON)
    assert document == {"a": None, "b": [None, 1, None], "c": 3}
    assert [blemish.location for blemish in blemishes] == [("a",), ("b", 0), ("b", 2), ("c",)]
