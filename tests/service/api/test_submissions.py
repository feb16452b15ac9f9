import pytest

from service.api.submissions import read_submission, understand
from service.domain.errors import Fault, InvalidSubmission, UnknownDataset
from service.domain.experiment import Dataset

YAML = "application/yaml"
MINIMAL = "name: a\ndataset: {name: digits}\narchitectures:\n  CNN 1: [Conv-3-8 Pool-2]\n"


def find(name: str) -> Dataset:
    if name != "digits":
        raise UnknownDataset(f"{name} is not here")
    return Dataset("digits", "d" * 64, (1, 8, 8), 10, 1_437, 360)


def faults(text: str, kind: str = YAML) -> tuple[Fault, ...]:
    with pytest.raises(InvalidSubmission) as caught:
        understand(read_submission(text.encode(), kind), find)
    return caught.value.faults


def paths(text: str, kind: str = YAML) -> list[str]:
    return [fault.path for fault in faults(text, kind)]


def test_a_sound_submission_is_understood() -> None:
    reading = read_submission(MINIMAL.encode(), YAML)
    assert not reading.faults
    assert understand(reading, find).name == "a"


def test_faults_of_reading_form_and_meaning_are_told_at_once_in_the_order_of_the_document() -> None:
    text = """
        name: a
        dataset: {name: digits, train: -5, zzz: .nan}
        architectures:
          A: [Conv-3-8 Pool-9, ""]
          B: [Conv-3-8]
          B: [Conv-3-8]
        variants:
        - {architecture: A, learning: total}
        - {architecture: C, learning: total}
        search: {enqueue: [{learning_rate: .nan, regularization: -1}]}
        sead: [1]
        seeds: [0, 0]
        limits: {time: soon, memory: 0B}
    """
    assert paths(text) == [
        "dataset.train",
        "dataset.zzz",
        "dataset.zzz",
        "architectures.A[0]",
        "architectures.A[1]",
        "architectures.B",
        "variants[1].architecture",
        "search.enqueue[0].learning_rate",
        "search.enqueue[0].regularization",
        "sead",
        "seeds[1]",
        "limits.time",
        "limits.memory",
    ]


def test_the_same_in_json() -> None:
    text = """{"name": "a", "nam": 1, "dataset": {"name": "digits"}, "seeds": [0, NaN],
               "architectures": {"A": ["Pool-9"], "A": ["Pool-9"], "B": ["Pool-9"]}}"""
    assert paths(text, "application/json") == ["nam", "seeds[1]", "architectures.A", "architectures.B[0]"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("search: {enqueue: [{learning_rate: 0.1, regularization: 0.01}] , sampler: gpp}", "search.sampler"),
        (
            "search: {space: {learning_rat: {low: 1, high: 9}}, enqueue: [{learning_rate: 5, regularization: 0.01}]}",
            "search.space.learning_rat",
        ),
        ("training: {batch_sise: 10}\ndataset: {name: digits, train: 20}", "training.batch_sise"),
        ("phases: [{trails: 12}]", "phases[0].trails"),
        ("variants: [{architecture: Z, learning: total}]\narchitectures: {Z: [7]}", "architectures.Z[0]"),
        ("variants: [{architecture: Z, learning: total}]\narchitectures: []", "architectures"),
    ],
)
def test_what_is_faulty_makes_nothing_else_look_faulty(text: str, path: str) -> None:
    keys = {line.partition(":")[0] for line in text.splitlines()}
    rest = {
        "name": "a",
        "dataset": "{name: digits}",
        "architectures": "{Z: [Conv-3-8]}",
        "search": "{enqueue: [{learning_rate: 0.01, regularization: 0.01}]}",
    }
    text += "".join(f"\n{key}: {value}" for key, value in rest.items() if key not in keys)
    assert paths(text) == [path]


def test_start_points_do_not_count_against_trials_under_a_mistyped_key() -> None:
    points = ", ".join(f"{{learning_rate: 0.1{number:02}, regularization: 0.01}}" for number in range(12))
    assert paths(f"{MINIMAL}phasse: [{{trials: 12}}]\nsearch: {{enqueue: [{points}]}}\n") == ["phasse"]


def test_without_a_data_set_the_form_alone_is_told() -> None:
    assert paths("name: a\narchitectures: {A: [Pool-9]}\nsead: 1\n") == ["dataset", "sead"]


def test_an_unknown_data_set_is_one_fault_among_others() -> None:
    unknown = MINIMAL.replace("digits", "dogs")
    with pytest.raises(UnknownDataset, match="dogs is not here") as caught:
        understand(read_submission(unknown.encode(), YAML), find)
    assert caught.value.faults == (Fault("dataset.name", "dogs is not here"),)
    assert paths(f"{unknown}sead: [1]\n") == ["dataset.name", "sead"]


def test_faults_beyond_fifty_are_left_out() -> None:
    assert len(faults(MINIMAL + "".join(f"key{number}: .nan\n" for number in range(60)))) == 50


@pytest.mark.parametrize(
    ("extra", "path", "told"),
    [
        ("sead: [1]", "sead", "did you mean seeds?"),
        ("search: {space: {learning_rat: {}}}", "search.space.learning_rat", "did you mean learning_rate?"),
        ("phases: [{epoch: 1}]", "phases[0].epoch", "did you mean epochs?"),
        ("training: {zzz: 1}", "training.zzz", "known here are batch_size"),
        ("search: {space: {learning_rate: {low: 0, high: 1}}}", "search.space.learning_rate.low", "greater than 0"),
        ("search: {space: {learning_rate: {low: 2, high: 1}}}", "search.space.learning_rate", "must be below high"),
        ("search: {sampler: gpp}", "search.sampler", "must be one of 'auto', 'gp'"),
        ("seeds: []", "seeds", "at least 1"),
        ("seeds:", "seeds", "is empty"),
        ("seeds: [-1]", "seeds[0]", "at least 0"),
        ("seeds: [1.5]", "seeds[0]", "whole number"),
        ("limits: {memory: lots}", "limits.memory", "8GiB"),
        ("limits: {time: '1:30'}", "limits.time", "2h"),
        ("limits: {memory: 64}", "limits.memory", "must be a size such as 8GiB"),
        ("limits: {time: 90}", "limits.time", "must be a duration such as 90s"),
        ("search: {space: {learning_rate: {low: .inf, high: 1}}}", "search.space.learning_rate.low", "a finite number"),
        ("priority: high", "priority", "whole number"),
        ("training: {batch_size: '50'}", "training.batch_size", "is text: write the number without quotes"),
        ("seeds: [true]", "seeds[0]", "must be a whole number"),
        ("training: {momentum: most}", "training.momentum", "must be a number"),
        ("reuse: maybe", "reuse", "true or false"),
        ("variants: [{architecture: CNN 1, learning: both}]", "variants[0].learning", "'total' or 'partial'"),
    ],
)
def test_faults_name_the_field_and_say_what_to_do(extra: str, path: str, told: str) -> None:
    [fault] = faults(f"{MINIMAL}{extra}\n")
    assert fault.path == path
    assert told in fault.message


@pytest.mark.parametrize(
    ("given", "told"), [("Conv-3-8", "[Conv-3-8]"), ("", "[Conv-3-8 Pool-2]"), ("{a: 1}", "[Conv-3-8 Pool-2]")]
)
def test_stages_without_brackets_are_told_how_to_write_them(given: str, told: str) -> None:
    [fault] = faults(f"name: a\ndataset: {{name: digits}}\narchitectures:\n  H: {given}\n")
    assert fault == Fault("architectures.H", f"must be a list of stages: write {told}")


def test_a_name_that_yaml_takes_for_no_number_is_told_to_be_quoted() -> None:
    [fault] = faults("name: .nan\ndataset: {name: digits}\narchitectures: {H: [Conv-3-8]}\n")
    assert fault == Fault("name", "is nan: write a finite number, or quote it where text is meant")


@pytest.mark.parametrize("other", ["CNN 1 ", " CNN 1", "\u00a0CNN 1"])
def test_names_that_differ_in_blanks_around_them_are_not_merged(other: str) -> None:
    text = f'name: a\ndataset: {{name: digits}}\narchitectures:\n  CNN 1: [Conv-3-8]\n  "{other}": [Conv-3-16]\n'
    [fault] = faults(text)
    assert fault.path == "architectures"
    assert "'CNN 1' stands there 2 times" in fault.message
