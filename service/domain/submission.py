"""From a submission to an ExperimentSpec: defaults filled in, all faults found at once."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from service.domain.errors import Fault, InvalidSubmission
from service.domain.experiment import (
    Dataset,
    ExperimentSpec,
    Limits,
    Phase,
    Recipe,
    SearchSettings,
    Split,
    Variant,
)
from service.domain.layers import Architecture, Layer
from service.domain.notation import parse
from service.domain.quantities import parse_duration, parse_size
from service.domain.schemes import FACTOR
from service.domain.search import CANDIDATES
from service.domain.shapes import parameters, resolve
from service.domain.space import (
    DEFAULT_FACTORS,
    DEFAULT_INITIAL,
    DEFAULT_SPACE,
    EXPONENTIAL_SPACE,
    PARAMETERS,
    Interval,
    Point,
    Space,
)
from service.domain.states import BudgetRule, Learning, Objective, Pruner, Sampler, Schedule, Scheme

MAX_PARAMETERS = 10**10
MAX_STAGE_TRAININGS = 5_000
# Which name was meant is asked of no more names, and for no more mistakes: comparing them is work.
MAX_GUESSES = 50

Document = Mapping[str, Any]


def build_spec(document: Document, dataset: Dataset) -> ExperimentSpec:
    """Understand a submission as plain values, in the form that ``contract.Submission`` dumps, against its data set.

    Raises InvalidSubmission with every fault that can be seen from outside, not only the first.
    """
    faults: list[Fault] = []
    split = _split(document["dataset"], dataset, faults)
    recipe = _recipe(document["training"])
    if not faults and recipe.batch_size > split.train:
        message = f"{recipe.batch_size:,} is more than the {split.train:,} training images: lower it"
        faults.append(Fault("training.batch_size", message))
    architectures = _architectures(document["architectures"], dataset, recipe.head, faults)
    variants = _variants(document, architectures, faults)
    faults.extend(_recipe_for_nothing(recipe, variants))
    faults.extend(_settings_for_nothing(document, variants))
    phases = tuple(
        Phase(phase["epochs"], phase["trials"], phase["start"] == "incumbents") for phase in document["phases"]
    )
    search = _search(document["search"], phases, faults)
    seeds = tuple(document["seeds"])
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            faults.append(Fault(f"seeds[{index}]", f"{seed} stands there already: take another seed or leave it out"))
    limits = _limits(document["limits"], faults)
    _refuse_oversized(document, variants, faults)
    if faults:
        raise InvalidSubmission(faults)
    return ExperimentSpec(
        name=document["name"],
        dataset=dataset,
        split=split,
        architectures=architectures,
        variants=variants,
        phases=phases,
        search=search,
        recipe=recipe,
        seeds=seeds,
        limits=limits,
        priority=document["priority"],
        reuse=document["reuse"],
    )


def _split(choice: Document, dataset: Dataset, faults: list[Fault]) -> Split:
    tenth = max(1, dataset.train // 10)
    train, validation = choice["train"], choice["validation"]
    if train is None:
        validation = tenth if validation is None else validation
        train = dataset.train - validation
    elif validation is None:
        validation = min(tenth, dataset.train - train)
    have = f"{dataset.name} has {dataset.train:,} training images"
    if choice["train"] is not None and choice["validation"] is not None and train + validation > dataset.train:
        message = f"{have}; train + validation = {train + validation:,}: lower one of them"
        faults.append(Fault("dataset", message))
    elif train < 1:
        faults.append(
            Fault("dataset.validation", f"{have}; {validation:,} for validation leave none to train on: lower it")
        )
    elif validation < 1:
        faults.append(Fault("dataset.train", f"{have}; {train:,} to train on leave none for validation: lower it"))
    return Split(train, validation, choice["preprocessing"])


def _architectures(
    choice: Mapping[str, list[str]], dataset: Dataset, head: str, faults: list[Fault]
) -> tuple[Architecture, ...]:
    """One with faults stays without stages, so that variants still find it."""
    understood: list[Architecture] = []
    names: dict[str, str] = {}
    for name, stages in choice.items():
        path = f"architectures.{name}"
        same = names.setdefault(_folded(name), name)
        if same != name:
            faults.append(Fault(path, f"differs from {same!r} only in case or spaces: rename one of them"))
        found: list[Fault] = []
        layers: list[tuple[Layer, ...]] = []
        for index, text in enumerate(stages):
            try:
                layers.append(parse(text, f"{path}[{index}]"))
            except InvalidSubmission as error:
                found.extend(error.faults)
                layers.append(())
        try:
            # A stage that cannot be read lets everything pass: what does not fit behind it never would.
            resolved = resolve(layers, dataset.shape, path)
        except InvalidSubmission as error:
            found.extend(error.faults)
        else:
            for index, stage in enumerate(() if found else resolved):
                count = parameters(stage, dataset.classes, head)
                if count > MAX_PARAMETERS:
                    message = f"{count:,} parameters, at most {MAX_PARAMETERS:,} are accepted: take fewer filters"
                    found.append(Fault(f"{path}[{index}]", message))
        faults.extend(found)
        understood.append(Architecture(name, () if found else tuple(layers)))
    return tuple(understood)


def _variants(document: Document, architectures: tuple[Architecture, ...], faults: list[Fault]) -> tuple[Variant, ...]:
    stages = {name: len(texts) for name, texts in document["architectures"].items()}
    if document["variants"] is None:
        return tuple(
            Variant(architecture.name, learning)
            for architecture in architectures
            for learning in (Learning.TOTAL, Learning.PARTIAL)
            if learning is Learning.TOTAL or stages[architecture.name] > 1
        )
    chosen: list[Variant] = []
    for index, choice in enumerate(document["variants"]):
        path = f"variants[{index}]"
        variant = Variant(
            choice["architecture"],
            Learning(choice["learning"]),
            BudgetRule(choice["budget"]),
            choice["checkpointing"],
            choice["normalize_cuts"],
        )
        if variant.architecture not in stages:
            known = list(stages) if len(faults) < MAX_GUESSES else []
            faults.append(Fault(f"{path}.architecture", _unknown(variant.architecture, known)))
        elif message := _misplaced(variant, stages[variant.architecture], document["variants"]):
            faults.append(Fault(path, message))
        elif variant.learning is Learning.PARTIAL and stages[variant.architecture] == 1:
            message = f"{variant.architecture} has one stage, so partial learning is total learning: write total"
            faults.append(Fault(f"{path}.learning", message))
        elif variant in chosen:
            message = f"{variant.label} stands at variants[{chosen.index(variant)}] already: leave one out"
            faults.append(Fault(path, message))
        chosen.append(variant)
    return tuple(chosen)


def _misplaced(variant: Variant, stages: int, choices: list[Document]) -> str | None:
    """What is wrong with the keys that concern Total Learning of a network with cuts alone."""
    told = [
        name
        for name, given in (
            (f"budget: {variant.budget}", variant.budget is not BudgetRule.EPOCHS),
            ("checkpointing", variant.checkpointing),
            ("normalize_cuts", variant.normalize_cuts),
        )
        if given
    ]
    if not told:
        return None
    if variant.learning is Learning.PARTIAL:
        return f"{told[0]} is for total learning: leave it out, or write learning: total"
    if stages == 1:
        return f"{told[0]} needs an architecture with cuts, {variant.architecture} is one stage: leave it out"
    partial = {"architecture": variant.architecture, "learning": "partial"}
    if variant.budget is BudgetRule.SECONDS and not any(partial.items() <= choice.items() for choice in choices):
        return f"budget: seconds spends what {variant.architecture} partial takes: add that variant"
    return None


def _unknown(name: str, known: list[str]) -> str:
    folded = {_folded(candidate): candidate for candidate in known}
    close = get_close_matches(_folded(name), folded, n=1) if len(known) <= MAX_GUESSES else []
    if close:
        return f"there is no architecture {name!r}: did you mean {folded[close[0]]!r}?"
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"there is no architecture {name!r}: write one of {listed or 'those in architectures'}"


def _folded(name: str) -> str:
    # The comparison takes the square of the length and more: no name is told apart further behind.
    return "".join(name.split()).casefold()[:40]


def _search(choice: Document, phases: tuple[Phase, ...], faults: list[Fault]) -> SearchSettings:
    sampler = Sampler(choice["sampler"])
    exponential = sampler is Sampler.RANDOM_EXPONENTIAL
    space = EXPONENTIAL_SPACE if exponential else DEFAULT_SPACE
    if choice["space"] is not None:
        space = Space(_axis(choice["space"]["learning_rate"]), _axis(choice["space"]["regularization"]))
    for path, given in (("search.initial", choice["initial"]), *_numbered("search.enqueue", choice["enqueue"])):
        if given is not None and given["more"]:
            message = "a start point is one learning rate and one regularization for the whole stage: leave it out"
            faults.append(Fault(f"{path}.more", message))
    enqueue = tuple(_point(point) for point in choice["enqueue"])
    initial = DEFAULT_INITIAL if choice["initial"] is None else _point(choice["initial"])
    for index, point in enumerate(enqueue):
        faults.extend(_outside(point, space, f"search.enqueue[{index}]"))
        if point in enqueue[:index]:
            message = f"repeats search.enqueue[{enqueue.index(point)}]: leave one out"
            faults.append(Fault(f"search.enqueue[{index}]", message))
    if exponential:
        faults.extend(_outside(initial, space, "search.initial"))
        if enqueue:
            message = "random-exponential tries search.initial first and nothing else: put the point there"
            faults.append(Fault("search.enqueue", message))
    fewest = min(phases, key=lambda phase: phase.trials)
    if len(enqueue) > fewest.trials:
        path = f"phases[{phases.index(fewest)}].trials"
        message = f"{fewest.trials:,} trials cannot try the {len(enqueue):,} points of search.enqueue: raise it"
        faults.append(Fault(path, message))
    scheme = Scheme(choice["scheme"])
    faults.extend(_search_for_nothing(choice, sampler, scheme))
    if scheme is not Scheme.PER_STAGE and exponential:
        message = f"random-exponential draws one pair a stage, so scheme {scheme} gains nothing: take another sampler"
        faults.append(Fault("search.scheme", message))
    factors = [
        _factor(choice, f"{axis}_{FACTOR}", default) for axis, default in zip(PARAMETERS, DEFAULT_FACTORS, strict=True)
    ]
    if scheme is Scheme.GEOMETRIC:
        for axis, factor in zip(PARAMETERS, factors, strict=True):
            if not factor.holds(1.0):
                message = f"{factor.low:g} to {factor.high:g} leaves out 1, at which all layers are alike: widen it"
                faults.append(Fault(f"search.space.{axis}_{FACTOR}", message))
    return SearchSettings(
        sampler=sampler,
        space=space,
        enqueue=enqueue,
        initial=initial,
        scheme=scheme,
        pruner=Pruner(choice["pruner"]),
        range_test=choice["range_test"],
        second_round=choice["second_round"],
        confirm_seeds=choice["confirm_seeds"],
        every_seed=choice["seeds"] == "each",
        learning_rate_factor=factors[0],
        regularization_factor=factors[1],
    )


def _search_for_nothing(choice: Document, sampler: Sampler, scheme: Scheme) -> list[Fault]:
    """Keys that the sampler or the scheme has no use for."""
    faults = []
    if sampler is Sampler.RANDOM_EXPONENTIAL:
        for key, otherwise in (("range_test", "bounds a space"), ("second_round", "widens a space")):
            if choice[key]:
                message = f"{otherwise}, and random-exponential draws around search.initial without one"
                faults.append(Fault(f"search.{key}", f"{message}: leave it out, or take another sampler"))
    elif choice["initial"] is not None:
        message = f"is where random-exponential starts, and the sampler is {sampler}: put the point into search.enqueue"
        faults.append(Fault("search.initial", f"{message}, or write sampler: random-exponential"))
    if scheme is not Scheme.GEOMETRIC and choice["space"] is not None:
        for axis in PARAMETERS:
            if choice["space"][f"{axis}_{FACTOR}"] is not None:
                message = f"belongs to the scheme geometric, and the scheme is {scheme}: leave it out"
                faults.append(Fault(f"search.space.{axis}_{FACTOR}", f"{message}, or write scheme: geometric"))
    return faults


def _recipe_for_nothing(recipe: Recipe, variants: tuple[Variant, ...]) -> Iterator[Fault]:
    """Parts of the recipe and of variants that have no use for each other."""
    if recipe.objective is not Objective.CLASSIFICATION and not any(v.learning is Learning.PARTIAL for v in variants):
        message = f"{recipe.objective} is for stages before the last, and no variant has any"
        yield Fault("training.objective", f"{message}: add a partial one of an architecture with cuts, or leave it out")
    for index, variant in enumerate(variants):
        if variant.normalize_cuts and not recipe.standardize_inputs:
            message = "gives total what partial's standardised inputs have, and training.standardize_inputs is false"
            yield Fault(f"variants[{index}].normalize_cuts", f"{message}: change one of them")


def _settings_for_nothing(document: Document, variants: tuple[Variant, ...]) -> Iterator[Fault]:
    """Keys of phases and search that the rest of the submission leaves nothing to do."""
    phases, search = document["phases"], document["search"]
    if phases[0]["start"] == "initial":
        yield Fault("phases[0].start", "initial is for a phase after another, instead of its incumbents: leave it out")
    if search["seeds"] == "each" and len(document["seeds"]) == 1:
        message = f"each is for several seeds, and there is only {document['seeds'][0]}"
        yield Fault("search.seeds", f"{message}: add others to seeds, or leave it out")
    # A second round adds trials, and who spends seconds has as many as they pay for.
    more = search["second_round"] or any(variant.budget is BudgetRule.SECONDS for variant in variants)
    if search["confirm_seeds"] and not more and all(phase["trials"] < CANDIDATES for phase in phases):
        message = f"chooses among the {CANDIDATES} best trials of a search, and each has one"
        yield Fault("search.confirm_seeds", f"{message}: raise phases[0].trials, or leave it out")


def _factor(choice: Document, axis: str, default: Interval) -> Interval:
    space = choice["space"]
    return default if space is None or space[axis] is None else _axis(space[axis])


def _axis(choice: Document) -> Interval:
    return Interval(float(choice["low"]), float(choice["high"]))


def _numbered(path: str, choices: list[Document]) -> list[tuple[str, Document]]:
    return [(f"{path}[{index}]", choice) for index, choice in enumerate(choices)]


def _point(choice: Document) -> Point:
    return Point(float(choice["learning_rate"]), float(choice["regularization"]))


def _outside(point: Point, space: Space, path: str) -> list[Fault]:
    faults = []
    for axis in PARAMETERS:
        interval: Interval = getattr(space, axis)
        value: float = getattr(point, axis)
        if not interval.holds(value):
            message = f"{value:g} lies outside the search space {interval.low:g} to {interval.high:g}"
            faults.append(Fault(f"{path}.{axis}", f"{message}: change it or widen search.space.{axis}"))
    return faults


def _recipe(choice: Document) -> Recipe:
    return Recipe(
        batch_size=choice["batch_size"],
        optimizer=choice["optimizer"],
        momentum=float(choice["momentum"]),
        precision=choice["precision"],
        initialization=choice["initialization"],
        head=choice["head"],
        standardize_inputs=choice["standardize_inputs"],
        objective=Objective(choice["objective"]),
        cached_features=choice["features"] == "cached",
        schedule=Schedule(choice["schedule"]),
    )


def _limits(choice: Document, faults: list[Fault]) -> Limits:
    memory: int | None = None
    time: float | None = None
    try:
        memory = None if choice["memory"] is None else parse_size(choice["memory"])
    except ValueError as error:
        faults.append(Fault("limits.memory", str(error)))
    try:
        time = None if choice["time"] is None else parse_duration(choice["time"])
    except ValueError as error:
        faults.append(Fault("limits.time", str(error)))
    return Limits(memory, time)


def _refuse_oversized(document: Document, variants: tuple[Variant, ...], faults: list[Fault]) -> None:
    stages = {name: len(texts) for name, texts in document["architectures"].items()}
    partial = sum(stages.get(variant.architecture, 1) for variant in variants if variant.learning is Learning.PARTIAL)
    total = sum(1 for variant in variants if variant.learning is Learning.TOTAL)
    trainings = (partial + total) * len(document["phases"])
    if trainings > MAX_STAGE_TRAININGS:
        message = (
            f"{trainings:,} stage trainings over all variants and phases, at most {MAX_STAGE_TRAININGS:,} are accepted"
        )
        faults.append(Fault("architectures", f"{message}: split the experiment"))
