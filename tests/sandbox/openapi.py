"""Checks requests against Discord's own OpenAPI document, where the workshop has a copy of it.

The document lies beside the repository, not in it; without it `violations` finds nothing and `DOCUMENT` is no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).resolve().parents[3] / "shared" / "discord" / "openapi.json"
URN = "urn:discord"
VARIABLE = re.compile(r"\{\w+\}")


class Request(Protocol):
    """What is looked at of a recorded request."""

    @property
    def method(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def body(self) -> Any: ...


def violations(requests: Iterable[Request]) -> list[str]:
    """One line for every request that Discord's document does not allow; keys that it does not know are let pass."""
    if not DOCUMENT.is_file():
        return []
    return [f"{r.method} {r.template or r.path}: {problem}" for r in requests for problem in _problems(r)]


def mistakes(schema: str, value: Any) -> list[str]:
    """What is wrong with a value that should be one of the document's named schemas."""
    return [_told(error) for error in _validator(f"components/schemas/{schema}").iter_errors(value)]


def _problems(request: Request) -> Iterator[str]:
    if not request.template:
        yield "the sandbox has no such route"
        return
    path = _paths().get(VARIABLE.sub("{}", request.template))
    operation = _document()["paths"].get(path, {}).get(request.method.lower())
    if operation is None:
        yield "Discord's document has no such route"
    elif "requestBody" in operation:
        body = operation["requestBody"]
        if request.body is None:
            if body.get("required"):
                yield "the body is missing"
        elif "application/json" in body["content"]:
            pointer = (
                f"paths/{_escaped(str(path))}/{request.method.lower()}/requestBody/content/application~1json/schema"
            )
            yield from (_told(error) for error in _validator(pointer).iter_errors(request.body))
    elif request.body:
        yield "Discord expects no body"


def _told(error: ValidationError) -> str:
    # Of a union, the branch that got furthest says best what is wrong.
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message[:300]}"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


@cache
def _document() -> Any:
    document = json.loads(DOCUMENT.read_text("utf-8"))
    # Discord takes ids as numbers too, and discord.py numbers the files of a message.
    document["components"]["schemas"]["SnowflakeType"] = {"type": ["string", "integer"]}
    return document


@cache
def _paths() -> dict[str, str]:
    return {VARIABLE.sub("{}", path): path for path in _document()["paths"]}


@cache
def _validator(pointer: str) -> Draft202012Validator:
    resource = Resource.from_contents(_document(), default_specification=DRAFT202012)
    return Draft202012Validator({"$ref": f"{URN}#/{pointer}"}, registry=Registry().with_resource(URN, resource))
