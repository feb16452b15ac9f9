"""Draw a study as it is given."""

from service.domain.projection import ProjectedStudy
from service.tuning.projection import StudyProjection


def draw(projection: StudyProjection, study: ProjectedStudy) -> None:
    projection.sync(study.name, lambda: study)
