"""`client.tokens`: join tokens, each valid for one user, one room and one join."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, cast

from videoapi.bulk import (
    GIVE_UP_AFTER,
    BulkItem,
    BulkOutcome,
    BulkProgress,
    BulkReport,
    BulkRun,
    Plan,
    key_of,
)
from videoapi.errors import ValidationError
from videoapi.models.base import set_extra
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.tokens import IssuedToken, Role, Token, TokenSpec
from videoapi.models.validation import check_room_id, check_token
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import CREATE_TOKEN, Options, Request

# The whole body, so that fields next to the text are kept.
TOKEN: Final[ResponseDecoder[IssuedToken]] = ResponseDecoder(None, IssuedToken, once="token")


class Tokens:
    """Join tokens for rooms."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def create(
        self,
        room_id: str | None,
        *,
        name: str,
        role: Role | str,
        user_ref: str,
        data: Mapping[str, Any] | None = None,
        validate: bool = True,
    ) -> Token:
        """Issue a token that lets one user join one room once, within 15 minutes.

        Send `token.value` to the browser, never the APP_KEY.

        Args:
            room_id: The ID returned by `rooms.create`.
            name: The user's name, shown in the session.
            role: `moderator`, `participant`, `viewer` or `audience`.
            user_ref: Your own reference for the user, included in call records.
            data: At most five keys of your own, visible in the session.
            validate: False skips client-side validation, for a white-label's own roles and keys.

        Returns:
            The issued token.

        Raises:
            ValidationError: If the service would reject the token; nothing was sent.
            TokenDenied: If the room is full, has ended or is not open yet; see `reason` and `retryable`.
            NotFound: If the room does not exist under this APP_ID.

        Source: docs/contract.md 5.1.
        """
        spec = TokenSpec(room_id, name, role, user_ref, data)
        issued = cast(IssuedToken, await self._pipeline.run(token_request(spec, self._pipeline.options, validate)))
        return _token(spec, issued)

    async def create_many(
        self,
        specs: Iterable[TokenSpec] | AsyncIterable[TokenSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
        validate: bool = True,
    ) -> BulkReport:
        """Issue many tokens concurrently, and report one outcome per input.

        If a response is lost, the client requests the token at most once again; a second token is harmless.
        The arguments are those of `rooms.create_many`; outcomes carry `token`.
        """
        run = self._run(
            specs,
            validate,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            keep_all=True,
        )
        return await run.run_to_completion()

    def create_each(
        self,
        specs: Iterable[TokenSpec] | AsyncIterable[TokenSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
        validate: bool = True,
    ) -> BulkRun[TokenSpec]:
        """Issue many tokens concurrently, and yield the outcomes as they finish; see `rooms.create_each`."""
        return self._run(
            specs,
            validate,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
        )

    def _run(
        self, specs: Iterable[TokenSpec] | AsyncIterable[TokenSpec], validate: bool, **limits: Any
    ) -> BulkRun[TokenSpec]:
        def prepare(index: int, spec: TokenSpec, key: Any, options: Options) -> BulkItem:
            request = token_request(spec, options, validate)
            return BulkItem(index=index, request=request, key=key, room_id=spec.room_id, given=spec)

        def finish(item: BulkItem, issued: IssuedToken) -> BulkOutcome:
            token = _token(item.given, issued)
            return BulkOutcome(index=item.index, key=item.key, status="created", room_id=item.room_id, token=token)

        plan = Plan(name="tokens.create", key_of=key_of, prepare=prepare, finish=finish)
        return BulkRun(self._pipeline, specs, plan, **limits)


def token_request(spec: TokenSpec, options: Options, validate: bool) -> Request:
    """Return the request for a token.

    Raises:
        ValidationError: If the service would reject the token.
    """
    if not isinstance(spec, TokenSpec):
        raise ValidationError(f"A token to be issued is a TokenSpec, not {type(spec).__name__}.", field="spec")
    room_id = check_room_id(spec.room_id)
    body = spec.to_wire()
    if validate:
        check_token(body)
    return Request(
        route=CREATE_TOKEN,
        path=CREATE_TOKEN.path(room_id),
        options=options,
        body=encode(body),
        decoder=TOKEN,
    )


def _token(spec: TokenSpec, issued: IssuedToken) -> Token:
    token = Token(value=issued.token, room_id=spec.room_id, role=str(spec.role), name=spec.name, user_ref=spec.user_ref)
    set_extra(token, issued.extra)
    return token
