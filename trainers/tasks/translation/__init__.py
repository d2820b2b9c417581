"""Task ``translation``: gloss-free translation in up to three runs (SCL-SLT; GFSLT-VLP)."""

from signatlas.recipe import StageRecipe, TranslationRecipe
from trainers.tasks import Stages, TaskSpec
from trainers.tasks.translation import stages
from trainers.tasks.translation.task import TranslationStage

SPEC = TaskSpec(
    name="translation",
    recipe=TranslationRecipe,
    build=TranslationStage,
    keep_every=lambda run: run.keep_every,
    stages=Stages(
        recipe=StageRecipe, runs=stages.runs, check=stages.check, connect=stages.connect, describe=stages.describe
    ),
)
