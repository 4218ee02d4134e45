"""docs/openapi.yaml as a judge of requests and responses.

The import of `jsonschema` takes seconds, as it builds parsers of addresses. Each of pytest's workers imports each file
of tests, so that only functions import it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import attrs
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from support.openapi_json import source

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_URI = "urn:openapi"


class Operation(NamedTuple):
    """An operation of the document, with where it is in the document."""

    method: str
    template: str
    pointer: str
    details: dict[str, Any]


@attrs.frozen
class Exchange:
    """A request and its response, as they were on the wire."""

    method: str
    path: str
    body: bytes
    status: int
    content_type: str
    response: bytes


class OpenAPIDocument:
    """The document, with its references resolved."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.document = document or source()
        resource: Resource[Any] = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry = Registry().with_resource(_URI, resource)

    def operations(self, section: str = "paths") -> Iterator[Operation]:
        """Yield the operations of `paths` or `webhooks`."""
        for template, item in self.document[section].items():
            for method in item.keys() & set(_METHODS):
                pointer = f"/{section}/{_escaped(template)}/{method}"
                yield Operation(method.upper(), template, pointer, item[method])

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """Return the operation of a path below the base URL, with the values in the path."""
        for operation in self.operations():
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(operation.template))
            match = re.fullmatch(pattern, path)
            if match and operation.method == method:
                return operation, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def at(self, pointer: str) -> tuple[str, Any]:
        """Return a part of the document, and where it is after its references were followed."""
        part: Any = self.document
        place = ""
        for step in pointer.removeprefix("/").split("/"):
            place, part = self.followed(f"{place}/{step}", part[step.replace("~1", "/").replace("~0", "~")])
        return place, part

    def followed(self, place: str, part: Any) -> tuple[str, Any]:
        """Return a part and its place, after its reference was followed if it is one."""
        # A schema may have keywords next to its reference, so that only other parts are followed.
        if isinstance(part, dict) and "$ref" in part and "/schemas/" not in part["$ref"]:
            return self.at(part["$ref"].removeprefix("#"))
        return place, part

    def errors(self, pointer: str, value: object) -> list[str]:
        """Return how a value differs from the schema at a place."""
        from jsonschema import Draft202012Validator

        schema = {"$ref": f"{_URI}#{pointer}"}
        checker = Draft202012Validator(
            schema, registry=self._registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]

    def violations(self, exchange: Exchange) -> list[str]:
        """Return how a request and its response differ from the document."""
        found = self.find(exchange.method, exchange.path)
        if found is None:
            return [f"no operation {exchange.method} {exchange.path}"]
        operation, values = found
        name = f"{operation.method} {operation.template} {exchange.status}"
        return [
            f"{name}: {problem}"
            for problem in (
                *self._path(operation, values),
                *(self._request(operation, exchange) if exchange.status < 300 else ()),
                *self._response(operation, exchange),
            )
        ]

    def _path(self, operation: Operation, values: dict[str, str]) -> Iterator[str]:
        item = operation.pointer.rpartition("/")[0]
        declared = {}
        for number in range(len(self.document["paths"][operation.template].get("parameters", ()))):
            _, shared = self.at(f"{item}/parameters")
            place, parameter = self.followed(f"{item}/parameters/{number}", shared[number])
            declared[parameter["name"]] = f"{place}/schema"
        if declared.keys() != values.keys():
            yield f"declares {sorted(declared)}"
        for parameter, value in values.items():
            # An ID that does not exist may have any form.
            yield from () if parameter == "room_id" else self.errors(declared[parameter], value)

    def _request(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        body = operation.details.get("requestBody")
        if not exchange.body:
            if body and body["required"]:
                yield "no body"
            return
        if not body:
            yield "a body that is not declared"
            return
        pointer = f"{operation.pointer}/requestBody/content/{_escaped('application/json')}/schema"
        yield from self.errors(pointer, json.loads(exchange.body))

    def _response(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        if str(exchange.status) not in operation.details["responses"]:
            yield "the status is not declared"
            return
        place, response = self.at(f"{operation.pointer}/responses/{exchange.status}")
        media = exchange.content_type.partition(";")[0]
        if media not in response["content"]:
            yield f"the type {media} is not declared"
            return
        value = json.loads(exchange.response) if media == "application/json" else exchange.response.decode()
        yield from self.errors(f"{place}/content/{_escaped(media)}/schema", value)
        if exchange.status >= 400 and isinstance(value, dict) and str(value.get("result", "")).isdigit():
            code, codes = int(value["result"]), operation.details["x-result-codes"].get(str(exchange.status), ())
            if code > 9999 and code not in codes:
                yield f"the code {code} is not declared"


def invalid(document: dict[str, Any]) -> list[str]:
    """Return how a document differs from OpenAPI 3.1."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    return [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
