"""The report's notes: what a reader should know before believing a line of the table."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from service.domain import frozen_features
from service.domain.comparisons import RULES, WITHIN_NOISE
from service.domain.experiment import ExperimentSpec
from service.domain.findings import SearchFacts
from service.domain.leasing import FailureReason
from service.domain.places import listed, place, shared_stages
from service.domain.quantities import mebibytes
from service.domain.report import Report, StageLine, VariantLine
from service.domain.search import CANDIDATES
from service.domain.states import BudgetRule, ExperimentState, Learning, SearchState
from service.domain.statistics import noise

FAILURE_LENGTH = 300


def notes(spec: ExperimentSpec, report: Report, searches: Collection[SearchFacts]) -> Iterator[str]:
    """Sentences for people, the most general first; ``report`` is there but for its notes."""
    if report.state not in ExperimentState.ended():
        yield "The experiment has not ended: lines may still change."
    yield from _noise(spec, report)
    yield from _comparisons(report)
    yield from _second_rounds(report)
    if len(report.devices) > 1:
        yield (
            f"Trainings ran on {'; '.join(report.devices)}: times and memory of one of them cannot be compared "
            "with those of another, nor can accuracies where the precision differs."
        )
    yield from _costs(spec, report)
    yield from _shared(searches)
    yield from _hand_picked(report)
    yield from frozen_features.measured(report)
    yield from frozen_features.without_room(spec, report)
    for search in searches:
        yield from _infeasible(search, spec)
        yield from _dead(search)
        if search.second_round:
            yield f"{search.name} fell short of its prefix or diverged, and got a second round in a wider space."
    yield from _stagnating(report)
    for line in report.variants:
        yield from _seconds(line, spec)
        yield from _diverged(line, spec)
        yield from _failed(line, spec)
        yield from _another_seed(line, spec)
        yield from _untested(line, spec)


def _noise(spec: ExperimentSpec, report: Report) -> Iterator[str]:
    best = max((line.validation_accuracy.mean for line in report.variants if line.validation_accuracy), default=None)
    if best is None:
        return
    images = spec.split.validation
    points = 100 * noise(best, best, images)
    if len(spec.seeds) == 1:
        yield (
            f"One seed only: with {images:,} validation images, differences under {points:.1f} points are noise, "
            "and what another seed would change comes on top."
        )
    if len(spec.seeds) > 1 and not spec.search.every_seed:
        seed = spec.seeds[0]
        yield (
            f"The search ran on the first seed, {seed}, only: intervals and p-values hold for the hyperparameters that "
            "this one search chose, and leave out what another search would have chosen."
        )
        highest = f"one of the {CANDIDATES} highest" if spec.search.confirm_seeds else "the highest"
        yield (
            f"The validation accuracy of seed {seed} is {highest} of its trials and optimistic, more so than those of "
            "the other seeds; nothing was selected on test accuracies."
        )
    else:
        yield "Validation accuracies chose the hyperparameters and are optimistic; test accuracies are not."


def _comparisons(report: Report) -> Iterator[str]:
    verdicts = [gap.verdict for gap in report.gaps] + [lead.verdict for lead in report.leads]
    if report.comparisons > 1:
        yield (
            f"{report.comparisons} comparisons were made, and their p-values are adjusted for that (Holm). "
            f"Beyond the noise: {len(verdicts) - verdicts.count(WITHIN_NOISE)} of {len(verdicts)} differences told."
        )


def _second_rounds(report: Report) -> Iterator[str]:
    """Under the rule seconds Total may spend those of second rounds too."""
    for gap in report.gaps:
        more, fewer = gap.partial_effort.second_round_trials, gap.total_effort.second_round_trials
        if more > fewer and gap.budget is not BudgetRule.SECONDS:
            partial = place(gap.partial, gap.phase, len(report.phases))
            yield (
                f"{partial} had {more} more trials than its budget in second rounds, {gap.total} "
                f"{fewer or 'none'}: {RULES[gap.budget]} nothing makes up for that."
            )


def _costs(spec: ExperimentSpec, report: Report) -> Iterator[str]:
    if report.search_seconds:
        fits = f"; fitting the choice with the other seeds {report.fit_seconds:,.0f} s" if report.fit_seconds else ""
        seeds = f" on each of {len(spec.seeds)} seeds" if spec.search.every_seed and len(spec.seeds) > 1 else ""
        yield f"Searching{seeds} took {report.search_seconds:,.0f} s of workers' time, all attempts counted{fits}."
    if report.reused_searches or report.reused_fits:
        fits = f", and {report.reused_fits} fits" if report.reused_fits else ""
        yield (
            f"{report.reused_searches} of {report.searches} searches come from earlier experiments{fits}: "
            f"{report.saved_seconds:,.0f} s were not spent again."
        )


def _shared(searches: Collection[SearchFacts]) -> Iterator[str]:
    """What was under way elsewhere spared this experiment some trainings, but nobody knows how many seconds of them."""
    shared = Counter(search.shared_with for search in searches if search.shared_with is not None)
    for name, count in shared.items():
        yield (
            f"Shared with {name}, under way there already: {count} of {len(searches)} searches; their seconds count in "
            "both experiments, and none as saved."
        )


def _hand_picked(report: Report) -> Iterator[str]:
    if report.enqueued_incumbents:
        yield (
            f"A hand-picked point won {report.enqueued_incumbents} of {report.decided_searches} decided searches: "
            "these owe it to whoever picked it, not to the search."
        )


def _infeasible(search: SearchFacts, spec: ExperimentSpec) -> Iterator[str]:
    limit = spec.limits.memory
    # Without a limit no search is infeasible.
    if search.state is SearchState.INFEASIBLE and limit is not None:
        failures = (trial.failure for trial in search.tried if trial.failure)
        told = next((failure for failure in failures if failure.startswith(FailureReason.MEMORY_LIMIT)), None)
        why = f" ({' '.join(told.split())[:FAILURE_LENGTH]})" if told else ""
        yield (
            f"{search.name} is infeasible: no hyperparameters make it fit into limits.memory, {mebibytes(limit)}{why}."
        )


def _dead(search: SearchFacts) -> Iterator[str]:
    if search.state is SearchState.DEAD:
        if not search.tried:
            yield f"{search.name} never ran: a stage before it has no incumbent."
        else:
            advice = " A narrower search.space may help." if search.diverged else ""
            again = " An earlier experiment found that; --no-reuse searches anew." if search.reused else ""
            told = Counter(" ".join(trial.failure.split()) for trial in search.tried if trial.failure).most_common(1)
            if told:
                advice += f" Most failures say: {told[0][0][:FAILURE_LENGTH]}"
            yield (
                f"{search.name} has no incumbent: of {len(search.tried)} trials {search.diverged} diverged, "
                f"{search.failed} failed and {search.pruned} were pruned.{advice}{again}"
            )


def _stagnating(report: Report) -> Iterator[str]:
    """A stage on frozen features can nearly always hold its prefix's accuracy; if not, it was searched too little.

    One that variants share is one search, and told once.
    """
    for shared in shared_stages(report):
        stage, before = shared.stage, shared.before
        if before is not None and stage.stagnating:
            beyond = stage.stagnating_beyond_noise
            verdict = "beyond the noise. More trials may help." if beyond else "within the noise."
            yield (
                f"{listed(shared.users)}: stage {shared.number} reaches {_reached(stage)}, less than the "
                f"{_reached(before)} of the stage it stands on, {verdict}"
            )


def _reached(stage: StageLine) -> str:
    """What the stage was judged by."""
    if stage.confirmed_accuracy is not None:
        return f"{stage.confirmed_accuracy:.3f} (mean with the seeds that confirmed it)"
    return f"{stage.validation_accuracy:.3f}"


def _seconds(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    if line.budget is BudgetRule.SECONDS and line.allowed_seconds is not None:
        spent = line.search_seconds - line.confirmation_seconds
        yield (
            f"{_place(line, spec)}: {line.allowed_seconds:,.0f} s of search were allowed, as many as the search of "
            f"{line.architecture} {Learning.PARTIAL} took; {line.trials} trials took {spent:,.0f} s."
        )


def _diverged(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    if line.diverged_seeds and line.validation_accuracy:
        yield (
            f"{_place(line, spec)} diverged on {_seeds(line.diverged_seeds)}: that counts at chance, "
            f"{spec.dataset.chance:.3f}, in its accuracies and differences, and in no time."
        )


def _failed(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    if line.failed_seeds and line.validation_accuracy:
        yield (
            f"{_place(line, spec)} has no network on {_seeds(line.failed_seeds)}, where training failed: its "
            "accuracies and differences leave that out."
        )


def _another_seed(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    if line.seed not in {None, spec.seeds[0]}:
        yield (
            f"{_place(line, spec)}: its stages and memory are those of seed {line.seed}, the first that has a network."
        )


def _untested(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    trained, tested = (len(found.values) if found else 0 for found in (line.validation_accuracy, line.test_accuracy))
    if line.state == "complete" and tested < trained:
        yield f"{_place(line, spec)}: {tested} of {trained} seeds that were trained have been tested."


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _place(line: VariantLine, spec: ExperimentSpec) -> str:
    return place(line.label, line.phase, len(spec.phases))
