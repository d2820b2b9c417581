"""Errors that a user can fix: one line that says what is wrong, where, and what to do."""


class UserError(Exception):
    """A mistake that the user can fix. Commands print it as one line and exit with code 2."""


class CorpusError(UserError):
    """A corpus that is missing, incomplete or damaged."""


class PoseError(UserError):
    """Unusable poses: wrong shape, no frames, or no detected point."""


class RecipeError(UserError):
    """A recipe with a missing, unknown or invalid setting."""


class ModelError(UserError):
    """A model folder that is missing, incomplete or of another architecture."""


class IndexVersionError(UserError):
    """An index version that is missing, damaged or built with another model."""


class LogError(UserError):
    """A log of additions and removals that cannot be read or written, or does not fit the index."""


class MediaError(UserError):
    """A video that cannot be read, or has fewer frames than its container announces."""


class FeatureError(UserError):
    """Clip features that are missing, damaged or made from another corpus or model."""


class TextError(UserError):
    """An unusable text: empty, or in a language that the tokenizer or encoder does not support."""
