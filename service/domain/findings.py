"""What a report is made from: what searches, fits and evaluations brought, and the runs that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import UUID

from service.domain.experiment import ExperimentSpec
from service.domain.plan import PlannedVariant, searched_seeds
from service.domain.report import BestSoFar, CurvePoint
from service.domain.search import judged_by
from service.domain.space import Point
from service.domain.states import FeaturePlace, SearchState, TrialOrigin, TrialState


@dataclass(frozen=True, slots=True)
class Training:
    """What one training brought: a search's incumbent, or a fit. Memory in bytes."""

    validation_accuracy: float
    training_accuracy: float
    training_seconds: float
    feature_seconds: float
    memory_bytes: int
    analytic_memory_bytes: int
    resident_bytes: int
    memory_method: str
    activation_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Training and producing the stage's inputs once."""
        return self.training_seconds + self.feature_seconds


@dataclass(frozen=True, slots=True)
class Probe:
    """Test accuracies of a stage's own head, and of nearest neighbours on its features."""

    head_accuracy: float
    knn_accuracy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The test of a network; ``stages`` from first to last, empty when nobody probed them.

    Bit i of ``right`` is set if test image i was classified rightly; None where nobody says.
    """

    test_accuracy: float
    stages: tuple[Probe, ...] = ()
    right: int | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial of a search; ``seconds`` sums its attempts, failed ones included."""

    point: Point
    origin: TrialOrigin
    state: TrialState
    value: float | None = None
    diverged: bool = False
    seconds: float = 0.0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What is known of a search. ``fits`` and ``evaluations`` are by seed, ``tried`` in the order of suggestion.

    ``reused``: decided before the experiment; ``shared_with``: under way then, in the experiment of this name.
    ``chosen`` is the incumbent's trial; confirmations train the best trials again to choose between them,
    and ``confirmations`` are the validation accuracies that the incumbent reached so.
    ``diverged_fits`` and ``failed_fits`` are the seeds on which the chosen hyperparameters left nothing to go on with.
    ``features`` counts the trainings, trials and fits, by where the frozen features they read were kept, if known.
    ``fit_seconds`` are those of the experiment's other seeds, and ``reused_fits`` of these fits, with
    ``reused_fit_seconds``, are older than it. ``allowed_seconds`` is what a search under the rule seconds might spend,
    confirmations apart.
    """

    id: UUID
    name: str
    stage: str
    state: SearchState
    reused: bool
    epochs: int
    shared_with: str | None = None
    chosen: Tried | None = None
    incumbent: Training | None = None
    tried: tuple[Tried, ...] = ()
    range_test_seconds: float = 0.0
    confirmation_seconds: float = 0.0
    confirmations: tuple[float, ...] = ()
    second_round: bool = False
    allowed_seconds: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    fits: Mapping[int, Training] = field(default_factory=dict)
    diverged_fits: frozenset[int] = frozenset()
    failed_fits: frozenset[int] = frozenset()
    fit_seconds: float = 0.0
    reused_fits: int = 0
    reused_fit_seconds: float = 0.0
    evaluations: Mapping[int, Evaluation] = field(default_factory=dict)
    features: Mapping[FeaturePlace, int] = field(default_factory=dict)

    @property
    def pruned(self) -> int:
        return sum(trial.state is TrialState.PRUNED for trial in self.tried)

    @property
    def diverged(self) -> int:
        return sum(trial.diverged for trial in self.tried)

    @property
    def failed(self) -> int:
        return sum(trial.state is TrialState.FAILED for trial in self.tried)

    @property
    def barren(self) -> bool:
        """Whether it has ended without an incumbent by itself."""
        return self.state in {SearchState.DEAD, SearchState.INFEASIBLE}

    @property
    def search_seconds(self) -> float:
        return sum(trial.seconds for trial in self.tried) + self.range_test_seconds + self.confirmation_seconds

    @property
    def saved_seconds(self) -> float:
        """Search seconds that were spent before, for another experiment."""
        return self.search_seconds if self.reused else 0.0

    @property
    def accuracy(self) -> float | None:
        """What the search is judged by: validation accuracy, mean over its own seed and those that confirmed it."""
        return None if self.incumbent is None else judged_by(self.incumbent.validation_accuracy, self.confirmations)

    @property
    def best_so_far(self) -> tuple[BestSoFar, ...]:
        found: list[BestSoFar] = []
        seconds, best = 0.0, None
        for number, trial in enumerate(self.tried, start=1):
            seconds += trial.seconds
            if trial.state is TrialState.COMPLETE and not trial.diverged and trial.value is not None:
                best = trial.value if best is None else max(best, trial.value)
            found.append(BestSoFar(number, seconds, best))
        return tuple(found)

    def training(self, seed: int, *, searched: bool) -> Training | None:
        """The stage's training on a seed: the incumbent's where that seed was searched, else the fit's."""
        return self.incumbent if searched else self.fits.get(seed)


@dataclass(frozen=True, slots=True)
class Run:
    """A variant on a seed: the trainings of all its stages, and the test once there is one."""

    seed: int
    trainings: tuple[Training, ...]
    evaluation: Evaluation | None

    @property
    def seconds(self) -> float:
        return sum(training.seconds for training in self.trainings)

    @property
    def last(self) -> Training:
        """That of the last stage, whose accuracies are the network's."""
        return self.trainings[-1]


@dataclass(frozen=True, slots=True)
class Findings:
    """A planned variant with the searches on its paths, one for each searched seed, and its runs so far.

    All of them are in the order of the seeds.

    ``diverged`` are the seeds on which a stage's fit diverged, or all trials of its search did. There is no network
    then, which is right as often as guessing, ``chance``; left out, it would flatter whichever learning is less stable.
    ``failed`` are the seeds without a network of which nothing else is known.
    """

    planned: PlannedVariant
    seeds: tuple[int, ...]
    paths: tuple[tuple[SearchFacts, ...], ...]
    runs: tuple[Run, ...]
    diverged: tuple[int, ...]
    failed: tuple[int, ...]
    chance: float

    @property
    def searches(self) -> tuple[SearchFacts, ...]:
        return tuple(search for path in self.paths for search in path)

    @property
    def fertile_paths(self) -> tuple[tuple[SearchFacts, ...], ...]:
        """Those on which no stage has ended without an incumbent by itself."""
        return tuple(path for path in self.paths if not any(search.barren for search in path))

    @property
    def barren(self) -> bool:
        """Whether no seed leads anywhere."""
        return not self.fertile_paths

    @property
    def infeasible(self) -> bool:
        """Whether no seed leads anywhere, and memory is to blame."""
        return self.barren and any(search.state is SearchState.INFEASIBLE for search in self.searches)

    @property
    def seed(self) -> int | None:
        """The first seed that has a run: the one whose stages and memory stand for the variant."""
        return self.runs[0].seed if self.runs else None

    @property
    def path(self) -> tuple[SearchFacts, ...]:
        """The searches of that seed; before there is any, and where it has none of its own, those of the first."""
        searched = dict(zip(self.seeds, self.paths, strict=False))
        return searched.get(self.runs[0].seed, self.paths[0]) if self.runs else self.paths[0]

    @property
    def trained(self) -> tuple[Training, ...]:
        """The stages' trainings on that seed, none before all are there."""
        return self.runs[0].trainings if self.runs else ()

    @property
    def largest(self) -> Training | None:
        """Memory is needed for one stage at a time: of those trained, the one that takes most."""
        return max(self.trained, key=lambda training: training.memory_bytes, default=None)

    @property
    def training(self) -> dict[int, float]:
        """Training accuracies of the network by seed, chance where it diverged."""
        return self._with_chance({run.seed: run.last.training_accuracy for run in self.runs})

    @property
    def validation(self) -> dict[int, float]:
        """Validation accuracies of the network by seed, chance where it diverged."""
        return self._with_chance({run.seed: run.last.validation_accuracy for run in self.runs})

    @property
    def test(self) -> dict[int, float]:
        """Test accuracies by seed, chance where it diverged; empty before the first test."""
        return self._with_chance(
            {run.seed: run.evaluation.test_accuracy for run in self.runs if run.evaluation is not None}
        )

    @property
    def right(self) -> dict[int, int]:
        """Which test images were classified rightly, by seed, a bit for each, as far as that is known."""
        tested = {run.seed: run.evaluation.right for run in self.runs if run.evaluation is not None}
        return {seed: right for seed, right in tested.items() if right is not None}

    @property
    def seconds(self) -> dict[int, float]:
        """Training seconds by seed; a training that diverged ended early, and tells nothing of time."""
        return {run.seed: run.seconds for run in self.runs}

    def _with_chance(self, measured: dict[int, float]) -> dict[int, float]:
        if not measured:
            return {}
        known = measured | dict.fromkeys(self.diverged, self.chance)
        return {seed: known[seed] for seed in self.seeds if seed in known}


def find(spec: ExperimentSpec, planned: PlannedVariant, searches: Mapping[str, SearchFacts]) -> Findings:
    """Gather what a variant's paths lead to. A run is there once all of its stages have been trained."""
    paths = {
        seed: tuple(searches[key] for key in path)
        for seed, path in zip(searched_seeds(spec), planned.paths, strict=True)
    }
    first = paths[spec.seeds[0]]
    runs = (_run(paths.get(seed, first), seed, searched=seed in paths) for seed in spec.seeds)
    lost = {seed: _lost(paths.get(seed, first), seed, searched=seed in paths) for seed in spec.seeds}
    return Findings(
        planned,
        spec.seeds,
        tuple(paths.values()),
        tuple(run for run in runs if run is not None),
        diverged=tuple(seed for seed, cause in lost.items() if cause is _Lost.DIVERGED),
        failed=tuple(seed for seed, cause in lost.items() if cause is _Lost.FAILED),
        chance=spec.dataset.chance,
    )


class _Lost(Enum):
    """Why there will be no network on a seed."""

    DIVERGED = auto()
    FAILED = auto()


def _lost(path: Sequence[SearchFacts], seed: int, *, searched: bool) -> _Lost | None:
    """What the first stage came to that left nothing for the next to stand on."""
    for search in path:
        if (search.barren and search.diverged and not search.failed) if searched else seed in search.diverged_fits:
            return _Lost.DIVERGED
        if search.barren if searched else seed in search.failed_fits:
            return _Lost.FAILED
    return None


def _run(path: Sequence[SearchFacts], seed: int, *, searched: bool) -> Run | None:
    trainings = [search.training(seed, searched=searched) for search in path]
    whole = tuple(training for training in trainings if training is not None)
    return Run(seed, whole, path[-1].evaluations.get(seed)) if len(whole) == len(path) else None
