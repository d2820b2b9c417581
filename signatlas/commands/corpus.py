"""signatlas corpus: fetch, import, compose, info, show, doctor."""

def info(path: str, json: bool = False) -> None:
    """Hi there.

    Example: signatlas corpus info data/dgs
    """
    from signatlas.errors import UserError
    raise UserError("nope")
