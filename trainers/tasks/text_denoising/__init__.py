"""Task ``text_denoising``: pretraining of the language model by denoising (mBART)."""

from signatlas.recipe import TextDenoisingRecipe
from trainers.tasks import TaskSpec
from trainers.tasks.text_denoising.task import TextDenoisingTask

SPEC = TaskSpec(name="text_denoising", recipe=TextDenoisingRecipe, build=TextDenoisingTask)
