"""Task ``pseudo_label``: a sign classifier fine-tuned on pseudo-labels (the domain-aware encoder of CiCo)."""

from signatlas.recipe import PseudoLabelRecipe
from trainers.tasks import TaskSpec
from trainers.tasks.pseudo_label.task import PseudoLabelTask, prepare

SPEC = TaskSpec(name="pseudo_label", recipe=PseudoLabelRecipe, build=PseudoLabelTask, prepare=prepare)
