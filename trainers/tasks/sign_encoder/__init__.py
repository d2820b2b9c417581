"""Task ``sign_encoder``: the sign encoder, for search by performing a sign."""

from signatlas.recipe import SignEncoderRecipe
from trainers.tasks import TaskSpec
from trainers.tasks.sign_encoder.task import SignEncoderTask

SPEC = TaskSpec(name="sign_encoder", recipe=SignEncoderRecipe, build=SignEncoderTask)
