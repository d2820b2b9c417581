"""Task ``sign_classifier``: a classifier of windows of isolated signs (the domain-agnostic encoder of CiCo)."""

from signatlas.recipe import SignClassifierRecipe
from trainers.tasks import TaskSpec
from trainers.tasks.sign_classifier.task import SignClassifierTask

SPEC = TaskSpec(name="sign_classifier", recipe=SignClassifierRecipe, build=SignClassifierTask)
