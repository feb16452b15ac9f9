"""Give what an experiment has failed at another chance."""

from dataclasses import dataclass
from uuid import UUID

from service.domain.errors import Conflict
from service.domain.states import ExperimentState
from service.storage import Storage, experiments, retries
from service.usecases.announce_news import News, announce_news
from service.usecases.limit_experiments import limit_experiments


@dataclass(frozen=True, slots=True)
class Retried:
    """The fields are those of ``contract.experiments.Retried``."""

    tasks: int
    searches: int


def retry_experiment(store: Storage, experiment_id: UUID, most_open: int = 0) -> Retried:
    """Make its failed tasks ready again, dead letters among them, and open the searches that died of such.

    What is decided stays decided: a trial of a decided search, or one that is infeasible, is left as it is. An
    experiment that has ended goes on if there is anything to do, as one of ``most_open`` at most (0: any number);
    others that share its searches stay as they are.
    Retrying when nothing is left to retry changes nothing.

    Raises:
        NotFound: there is no such experiment.
        Conflict: it was cancelled.
        TooManyExperiments: it has ended, and as many as may are open.
    """
    with store.transaction() as tx:
        experiments.lock_membership(tx)
        retries.lock_sharers(tx, experiment_id)
        state = experiments.get(tx, experiment_id, lock=True).state
        if state is ExperimentState.CANCELLED:
            raise Conflict("the experiment is cancelled; submit it again")
        tasks = retries.retryable(tx, experiment_id)
        if not tasks:
            return Retried(0, 0)
        if state in ExperimentState.ended():
            limit_experiments(tx, most_open)
        opened = retries.reopen_searches(tx, tasks)
        retries.revive(tx, tasks)
        if state in ExperimentState.ended():
            experiments.set_state(tx, experiment_id, ExperimentState.RUNNING)
        tx.announce(experiment_id, "retried", tasks=len(tasks), searches=len(opened))
        announce_news(tx, [News(search, "search-open") for search in opened])
    return Retried(len(tasks), len(opened))
