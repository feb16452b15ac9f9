"""Revision 0002 carries what it finds over, and back again what the older version can say."""

from sqlalchemy import text

from service.storage import Storage
from service.storage.migrations import downgrade, upgrade
from tests.service.lab import TREE, Lab


def test_an_experiment_survives_the_way_back_and_forth(database_url: str) -> None:
    store = Storage.connect(database_url, pool_size=4)
    lab = Lab(store)
    experiment = lab.submit(
        TREE, search={"range_test": True, "confirm_seeds": 1}, seeds=[3, 7], phases=[{"epochs": 1, "trials": 2}]
    )
    lab.drive(experiment, lab.worker())
    kept = lab.rows("SELECT id, state, incumbent_id, seed FROM search ORDER BY id")
    lab.run("UPDATE search SET state = 'infeasible', incumbent_id = NULL WHERE id = :id", id=kept[0].id)
    store.close()

    downgrade(database_url, "0001")

    with store.engine.connect() as connection:
        connection.execute(text("SET search_path = stagetune"))
        seeds, kinds, states = (
            connection.execute(text(statement)).scalars().all()
            for statement in (
                "SELECT seeds FROM experiment",
                "SELECT DISTINCT kind FROM task ORDER BY kind",
                "SELECT DISTINCT state FROM search ORDER BY state",
            )
        )
    store.close()
    assert (seeds, kinds, states) == ([[3, 7]], ["evaluate", "fit", "trial"], ["dead", "decided"])

    upgrade(database_url)

    assert [row[0] for row in lab.rows("SELECT seeds FROM experiment_search")] == [[3, 7]] * 3
    assert lab.rows("SELECT id, seed FROM search ORDER BY id") == [(row.id, row.seed) for row in kept]
    store.close()
