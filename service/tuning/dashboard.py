"""Optuna's numbers for our studies, which optuna-dashboard has in its addresses."""

from optuna.storages import BaseStorage


def find_study(storage: BaseStorage, name: str) -> int | None:
    """The number of the study called ``name``; None while nothing of it has been projected."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None


def has_study(storage: BaseStorage, number: int) -> bool:
    """Whether there is a study of this number."""
    try:
        storage.get_study_name_from_id(number)
    except KeyError:
        return False
    return True
