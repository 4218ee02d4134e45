"""docs/openapi.yaml: valid, complete, and as sure as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.openapi_document import OpenAPIDocument, invalid
from support.openapi_json import GENERATED, ROOT, as_json, source

from videoapi.protocol import routes
from videoapi.protocol.codes import TEXTS
from videoapi.protocol.routes import Route
from videoapi.sandbox.responses import status_of
from videoapi.sandbox.routing import ROUTES

DOCUMENT = OpenAPIDocument()
SAMPLES = ROOT / "tests" / "data"
OPERATIONS = {
    "archive": ("GET", "/archive/period/{from_date}/{to_date}"),
    "cdr": ("GET", "/cdr/period/{from_date}/{to_date}"),
    "create_room": ("POST", "/rooms"),
    "create_token": ("POST", "/rooms/{room_id}/tokens"),
    "delete_room": ("DELETE", "/rooms/{room_id}"),
    "dialin": ("GET", "/dialin/"),
    "get_room": ("GET", "/rooms/{room_id}"),
    "list_rooms": ("GET", "/rooms"),
    "room_users": ("GET", "/rooms/{room_id}/users"),
    "update_room": ("PATCH", "/rooms/{room_id}"),
}
# The contract has plain URLs in notifications only; the client is more tolerant than the contract.
BEYOND_THE_CONTRACT = {"archive/plain_urls.200.json"}
# An assumption of ours, about any route.
ERRORS = "#/components/schemas/Error"


def operations() -> dict[tuple[str, str], Any]:
    return {(operation.method, operation.template): operation for operation in DOCUMENT.operations()}


def test_document_is_valid_openapi_3_1() -> None:
    document = source()
    assert document["openapi"].startswith("3.1.")
    assert invalid(document) == []


def test_validator_refuses_a_broken_document() -> None:
    document = source()
    document["paths"]["/rooms"]["post"]["responses"] = {}
    assert invalid(document)


def test_json_form_in_the_package_is_generated_from_the_yaml() -> None:
    assert GENERATED.read_text(encoding="utf-8") == as_json(source()), "run `make openapi`"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a part of the document."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(child)


def test_enums_have_values_of_one_type() -> None:
    # A generator that makes a class of each enum leaves out the others, and with them every response that has one.
    for schema in objects(source()["components"]["schemas"]):
        assert len({type(value) for value in schema.get("enum", ())}) <= 1, schema


def test_parts_of_a_schema_declare_no_property_twice() -> None:
    # A generator that merges the parts of `allOf` cannot merge two declarations of one property.
    schemas = source()["components"]["schemas"]
    composed = {name: schema["allOf"] for name, schema in schemas.items() if "allOf" in schema}
    assert len(composed) >= 4
    for name, parts in composed.items():
        resolved = [schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part for part in parts]
        properties = [key for part in resolved for key in part.get("properties", {})]
        assert len(set(properties)) == len(properties), name


def test_operations_are_the_routes_of_the_client() -> None:
    sent = {(route.method, route.template) for route in vars(routes).values() if isinstance(route, Route)}
    assert set(operations()) == sent


def test_operations_are_the_routes_of_the_sandbox() -> None:
    # Files are on another host, and the sandbox does not write the slash at the end of /dialin/.
    served = {(route.method, route.template.rstrip("/")) for route in ROUTES.values() if route.name != "files.get"}
    assert {(method, template.rstrip("/")) for method, template in operations()} == served


def test_operation_ids_are_unique_names() -> None:
    named = [*DOCUMENT.operations(), *DOCUMENT.operations("webhooks")]
    ids = [operation.details["operationId"] for operation in named]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][A-Za-z]+", name) for name in ids)


def test_every_operation_responds_with_what_the_sandbox_does() -> None:
    for operation in DOCUMENT.operations():
        assert {"200", "401", "404", "405", "429", "500", "503"} <= operation.details["responses"].keys()


def marked(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(part, dict):
        if "x-certainty" in part or "x-source" in part:
            yield path, part
        for key, value in part.items():
            yield from marked(value, f"{path}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from marked(value, f"{path}/{number}")


def test_every_operation_and_response_says_how_surely_it_is_known() -> None:
    for operation in (*DOCUMENT.operations(), *DOCUMENT.operations("webhooks")):
        assert {"x-certainty", "x-source"} <= operation.details.keys(), operation.pointer
        for status in operation.details["responses"]:
            _, response = DOCUMENT.at(f"{operation.pointer}/responses/{status}")
            assert {"x-certainty", "x-source"} <= response.keys(), (operation.pointer, status)
    for server in DOCUMENT.document["servers"]:
        assert {"x-certainty", "x-source"} <= server.keys()


def test_certainty_marks_are_explained_and_their_sources_exist() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^(?:#+ |\*\*)(\d+(?:\.\d+)?) ", contract, re.MULTILINE))
    explained = set(re.findall(r"^\| `(\w+)` \| [a-z]", DOCUMENT.document["info"]["description"], re.MULTILINE))
    assert explained == {"observed", "documented", "assumed"}
    seen = list(marked(DOCUMENT.document))
    assert len(seen) > 100
    for path, part in seen:
        assert part.get("x-certainty", "observed") in explained, path
        cited = part.get("x-source", "contract 1").partition(", row")[0]
        numbers = re.fullmatch(r"contract ((?:\d+(?:\.\d+)?(?:, )?)+)", cited)
        assert numbers, (path, cited)
        assert set(numbers[1].split(", ")) <= sections, (path, cited)


def test_observed_operations_are_those_that_the_contract_calls_wire() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]+) \| `(/[^`…]*)` \|.*\| (wire)?[^|]*\|$", contract, re.MULTILINE)
    assert len(rows) >= 12
    for method, template, wire in rows:
        certainty = operations()[method, template].details["x-certainty"]
        assert certainty == ("observed" if wire else "documented"), template


def test_result_codes_have_the_status_that_the_sandbox_gives_them() -> None:
    listed = set()
    for operation in DOCUMENT.operations():
        for status, codes in operation.details["x-result-codes"].items():
            assert status in operation.details["responses"], operation.pointer
            listed |= set(codes)
            for code in codes:
                assert code in TEXTS, code
                # For an unknown method the code is that of an unknown path.
                assert status == "405" or status_of(code) == int(status), (operation.pointer, code)
    # 10115 and the like are not documented; every documented code belongs to an operation.
    assert listed == set(TEXTS)


def test_result_codes_are_in_the_text_of_their_response() -> None:
    for operation in DOCUMENT.operations():
        for status, codes in operation.details["x-result-codes"].items():
            response = operation.details["responses"][status]
            text = (
                response.get("description") or DOCUMENT.at(f"{operation.pointer}/responses/{status}")[1]["description"]
            )
            named = {int(code) for code in re.findall(r"\b\d{5}\b", text)}
            for first, last in re.findall(r"\b(\d{5}) to (\d{5})\b", text):
                named |= set(range(int(first), int(last) + 1)) & TEXTS.keys()
            assert set(codes) <= named, (operation.pointer, status)


def examples(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the place of each schema that has examples, with one of them."""
    if isinstance(part, list):
        for number, value in enumerate(part):
            yield from examples(value, f"{path}/{number}")
    if not isinstance(part, dict):
        return
    if "schema" in part:
        for example in part.get("examples", {}).values():
            yield f"{path}/schema", DOCUMENT.followed("", example)[1]["value"]
        if "example" in part:
            yield f"{path}/schema", part["example"]
    elif isinstance(part.get("examples"), list):
        for example in part["examples"]:
            yield path, example
    for key, value in part.items():
        yield from examples(value, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")


def test_every_example_matches_its_schema() -> None:
    found = list(examples(DOCUMENT.document))
    assert len(found) > 30
    for pointer, value in found:
        assert DOCUMENT.errors(pointer, value) == [], pointer


def samples() -> list[Path]:
    return [path for path in sorted(SAMPLES.glob("*/*.json")) if path.parent.name != "errors"]


@pytest.mark.parametrize("path", samples(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sample_bodies_match_the_schema_of_their_operation(path: Path) -> None:
    operation = operations()[OPERATIONS[path.parent.name]]
    body = json.loads(path.read_text(encoding="utf-8"))
    status = path.name.split(".")[1]
    part = "requestBody" if status == "request" else f"responses/{status}"
    place, _ = DOCUMENT.at(f"{operation.pointer}/{part}")
    errors = DOCUMENT.errors(f"{place}/content/application~1json/schema", body)
    assert bool(errors) == (f"{path.parent.name}/{path.name}" in BEYOND_THE_CONTRACT), errors


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("errors/*.json")), ids=lambda path: path.stem)
def test_sample_errors_match_the_error_schema_and_no_success(path: Path) -> None:
    body = json.loads(path.read_text(encoding="utf-8"))
    assert DOCUMENT.errors("/components/schemas/Error", body) == []
    assert DOCUMENT.errors("/components/schemas/DoneResponse", body)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("NewRoom", {"name": "A"}),
        ("NewRoom", {"name": "A", "owner_ref": "r", "settings": {"unheard_of": 1}}),
        ("NewRoom", {"name": "A", "owner_ref": "r", "settings": {"moderators": "6"}}),
        ("NewRoom", {"name": "A", "owner_ref": "r", "settings": {"scheduled_time": "tomorrow"}}),
        ("NewToken", {"name": "Ann", "role": "Moderator", "user_ref": "u"}),
        ("RoomResponse", {"result": 0, "room": {"room_id": "x"}}),
        ("RoomResponse", {"result": False, "room": {}}),
        ("TokenResponse", {"result": 0}),
        ("CallRecordListResponse", {"result": "0", "cdr": [{"trans_date": "2026-01-31T10:20:30.123Z"}]}),
        ("ArchiveListResponse", {"result": "0", "archive": [{"conf_num": "1", "room_id": "2", "recording": "url"}]}),
        ("Error", {"result": 0}),
    ],
)
def test_schemas_refuse_what_the_service_does(schema: str, body: object) -> None:
    assert DOCUMENT.errors(f"/components/schemas/{schema}", body)
