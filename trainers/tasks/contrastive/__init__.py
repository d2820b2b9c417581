"""Task ``contrastive``: a dual encoder of signing and text for sentence retrieval (CiCo)."""

from signatlas.recipe import ContrastiveRecipe
from trainers.tasks import TaskSpec
from trainers.tasks.contrastive.task import ContrastiveTask

SPEC = TaskSpec(name="contrastive", recipe=ContrastiveRecipe, build=ContrastiveTask)
