"""`signatlas keys`: add, list and revoke the API keys of a service."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from cli.shared import AsJson, print_json

KeyFile = Annotated[str, typer.Option("--keys", help="File of keys, at a path or URI.", metavar="FILE")]
Name = Annotated[str, typer.Argument(help="Name of the key: who or what uses it.")]


class Role(StrEnum):
    read = "read"
    write = "write"


def add(
    name: Name,
    keys: KeyFile,
    role: Annotated[Role, typer.Option(help="read: search and translate; write: also change indexes.")] = Role.read,
) -> None:
    """Add a key to a file of keys and print it, once: the file holds only its sha256.

    A running service takes it up within seconds.

    Example: signatlas keys add alice --keys keys.json
    """
    from serve.keys import add as add_key
    from serve.keys import without_credentials

    print(add_key(keys, name, role.value))
    print(
        f"this is the key of {name} ({role.value}), added to {without_credentials(keys)}; it is not shown again",
        file=sys.stderr,
    )


def list_(keys: KeyFile, json: AsJson = False) -> None:
    """List names, roles and dates of the keys in a file.

    Example: signatlas keys list --keys keys.json
    """
    from serve.keys import listed, without_credentials

    entries = listed(keys)
    if json:
        print_json([entry.model_dump(exclude={"sha256"}) for entry in entries], indent=2)
        return
    if not entries:
        print(f"no keys in {without_credentials(keys)}")
        return
    from rich.table import Table

    from cli.shared import console

    table = Table("name", "role", "created", box=None)
    for entry in entries:
        table.add_row(entry.name, entry.role, entry.created)
    console().print(table)


def revoke(name: Name, keys: KeyFile) -> None:
    """Remove a key from a file of keys. A running service refuses it within seconds.

    Example: signatlas keys revoke alice --keys keys.json
    """
    from serve.keys import revoke as revoke_key
    from serve.keys import without_credentials

    key = revoke_key(keys, name)
    print(f"revoked {key.name} ({key.role}) in {without_credentials(keys)}")
