"""The one exception a user may see: one line that says what, where and what to do."""


class UserError(Exception):
    """A mistake that the user can mend. Commands print it as one line and exit with code 2."""


class CorpusError(UserError):
    """A corpus that is missing, incomplete or damaged."""


class PoseError(UserError):
    """Poses that cannot be used: wrong shape, empty, or without a single point."""


class RecipeError(UserError):
    """A recipe that does not say what to do, or says it with unknown words."""


class ModelError(UserError):
    """A model folder that is missing, incomplete or of another architecture."""


class IndexVersionError(UserError):
    """An index snapshot that is missing, damaged or does not fit the model."""


class MediaError(UserError):
    """A video that cannot be read, or that yields less than it announces."""


class FeatureError(UserError):
    """Clip features that are missing, damaged or do not fit the corpus or the model."""


class TextError(UserError):
    """A text that cannot be read: empty, in an unknown language, or for an encoder that is not there."""
