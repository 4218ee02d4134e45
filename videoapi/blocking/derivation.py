"""Derives the blocking form of a class of the async client: the same names, without `async` and `await`.

Coroutine functions become blocking methods, async iterators iterators, and async context managers context managers.
Objects of the async client that a method returns are wrapped in the same way; all other values pass unchanged.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import partial, update_wrapper
from types import FunctionType, GenericAlias, TracebackType
from typing import Any, Final, Self

from videoapi.blocking.callbacks import Callbacks, latest, pulled, served, threaded
from videoapi.blocking.portal import Portal
from videoapi.blocking.wording import NAMES, blocking_text
from videoapi.errors import ConfigurationError

Adapter = Callable[[Any, Callbacks], Any]


class Blocking:
    """The base of all blocking forms: an object of the async client, and the portal in which it lives."""

    _source: Any
    _portal: Portal
    _callbacks: Callbacks | None
    _owns_portal: bool
    _of_class: type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        shared = [value._portal for value in (*args, *kwargs.values()) if isinstance(value, Blocking)]
        self._owns_portal, self._callbacks = not shared, None
        try:
            args, kwargs, _ = _adapted(self._of_class.__init__, args, kwargs, None)  # type: ignore[misc]
            source = self._source = self._of_class(*args, **kwargs)
        finally:
            # They hold the key, and error reporters store the variables of the frames of an error.
            del args, kwargs
        self._portal = shared[0] if shared else Portal(repr(source), source.aclose)

    @classmethod
    def _wrapped(cls, source: Any, portal: Portal, callbacks: Callbacks | None) -> Self:
        form = cls.__new__(cls)
        form._source, form._portal, form._callbacks, form._owns_portal = source, portal, callbacks, False
        return form

    def __repr__(self) -> str:
        own: object = self._of_class.__repr__
        # An error of `__init__` leaves an object without a source.
        if own is object.__repr__ or "_source" not in self.__dict__:
            return super().__repr__()
        return repr(self._source)

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled: create one in each process.")

    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def _form(self, value: Any, callbacks: Callbacks | None = None) -> Any:
        """Return the blocking form of an object of the async client, or any other value unchanged."""
        if value is self._source:
            return self
        kind = type(value)
        if is_async(kind):
            return blocking(kind)._wrapped(value, self._portal, callbacks)
        if isinstance(value, AsyncIterator):
            return _items(self._portal, value, callbacks)
        return value


class _Context(Blocking):
    """The blocking form of an async context manager, which `aclose` ends."""

    def __enter__(self) -> Self:
        self._portal.run(self._source.__aenter__(), self._callbacks)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self)


def _close(form: Blocking) -> None:
    if form._owns_portal:
        form._portal.close()
    elif form._callbacks is not None and form._callbacks.close_afterwards(form._source.aclose):
        # Called by a callback, for which it would wait.
        return
    elif form._portal.usable:
        form._portal.run(form._source.aclose(), form._callbacks)


def is_async(kind: type) -> bool:
    """Return whether a class is one of the async client, and has methods to be awaited or iterated over."""
    known = _IS_ASYNC.get(kind)
    if known is None:
        known = _IS_ASYNC[kind] = kind.__module__.startswith("videoapi.") and any(
            inspect.iscoroutinefunction(member) or name == "__aiter__" or returns_async(member)
            for name, member in inspect.getmembers_static(kind)
            if not name.startswith("_") or name == "__aiter__"
        )
    return known


def blocking(kind: type) -> Any:
    """Return the blocking form of a class of the async client."""
    form = _FORMS.get(kind)
    if form is None:
        bases = tuple(blocking(base) for base in kind.__bases__ if is_async(base))
        base = _Context if "__aenter__" in vars(kind) else Blocking
        members = {
            "__doc__": blocking_text(kind.__doc__),
            "__module__": "videoapi.blocking",
            "_of_class": kind,
            **_members(kind),
        }
        form = _FORMS.setdefault(kind, type(kind.__name__, bases or (base,), members))
    return form


def public_names(kind: type) -> dict[str, str]:
    """Return the public names that a class defines, and those of its blocking form."""
    names = [*vars(kind), *vars(kind).get("__annotations__", ())]
    return {name: NAMES.get(name, name) for name in names if not name.startswith("_") or name in NAMES}


def returns_async(member: object) -> bool:
    """Return whether a plain function returns a stream or a bulk run, by its annotation."""
    if not isinstance(member, FunctionType):
        return False
    annotation = str(member.__annotations__.get("return", ""))
    return re.match(r"RecordStream|BulkRun|RedisLease|AsyncIterator", annotation) is not None


def _members(kind: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if "__init__" in vars(kind):
        members["__init__"] = _constructor(kind)
    for name, new_name in public_names(kind).items():
        member = vars(kind).get(name)
        if new_name in ("__enter__", "__exit__"):
            continue
        if name == "aclose":
            members[new_name] = _documented(lambda self: _close(self), member)
        elif name == "__aiter__":
            members["__iter__"] = _iteration(member)
        elif inspect.iscoroutinefunction(member):
            members[new_name] = _method(member)
        elif isinstance(member, FunctionType):
            members[new_name] = _plain_method(member)
        else:
            members[new_name] = _Attribute(name, member)
    return members


class _Attribute:
    """A property or an attribute of the async object, read in the calling thread."""

    def __init__(self, name: str, member: Any) -> None:
        self._name = name
        self._member = member
        self.__doc__ = None if member is None else blocking_text(member.__doc__)

    def __get__(self, form: Blocking | None, owner: type[Blocking]) -> Any:
        if form is None:
            # For autospecs and editors.
            value = getattr(owner._of_class, self._name, self)
            return blocking(value) if isinstance(value, type) and is_async(value) else value
        source = form._source
        if isinstance(self._member, property):
            return form._form(getattr(source, self._name))
        with form._portal.exclusive():
            value = getattr(source, self._name)
            found = form._form(value)
            if found is not value:
                # A namespace is wrapped once.
                form.__dict__[self._name] = found
        return found


def _constructor(kind: type) -> Any:
    """Return a constructor with the signature of the async class, for `help`, notebooks and autospecs."""

    def construct(self: Blocking, *args: Any, **kwargs: Any) -> None:
        try:
            Blocking.__init__(self, *args, **kwargs)
        finally:
            del args, kwargs

    return _documented(construct, kind.__init__)  # type: ignore[misc]


def _method(function: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    if adapters_of(function):

        def method(self: Blocking, *args: Any, **kwargs: Any) -> Any:
            args, kwargs, callbacks = _adapted(function, args, kwargs, self._portal)
            form = partial(self._form, callbacks=callbacks)
            return self._portal.run(function(self._source, *args, **kwargs), callbacks, form)

    else:

        def method(self: Blocking, *args: Any, **kwargs: Any) -> Any:
            try:
                coroutine = function(self._source, *args, **kwargs)
            finally:
                # Headers may be secrets, and error reporters store the variables of the frames of an error.
                del args, kwargs
            return self._portal.run(coroutine, self._callbacks, self._form)

    return _documented(method, function)


def _plain_method(function: Callable[..., Any]) -> Any:
    def method(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        args, kwargs, callbacks = _adapted(function, args, kwargs, self._portal)
        with self._portal.exclusive():
            return self._form(function(self._source, *args, **kwargs), callbacks)

    return _documented(method, function)


def _iteration(function: Any) -> Any:
    def iterate(self: Blocking) -> Iterator[Any]:
        chunks = getattr(self._source, "_chunks", None)
        if chunks is not None:
            return _chunked_items(self._portal, chunks())
        put_back = getattr(self._source, "_put_back", None)
        return _items(self._portal, aiter(self._source), self._callbacks, put_back)

    return _documented(iterate, function)


def _items(
    portal: Portal,
    iterator: AsyncIterator[Any],
    callbacks: Callbacks | None,
    put_back: Callable[[Any], None] | None = None,
) -> Iterator[Any]:
    """Iterate in the calling thread; what is left early is closed at once.

    Args:
        portal: Where the iterator lives.
        iterator: The iterator.
        callbacks: User code to run in the calling thread.
        put_back: Called with an item that was taken when the calling thread was interrupted.
    """
    ended = False
    taken: list[Any] = []
    try:
        while portal.run(_next(iterator, taken), callbacks) is not _END:
            # Without a call, so that no signal handler runs in between.
            item = taken[0]
            del taken[0]
            yield item
        ended = True
    finally:
        if not ended:
            portal.finish(partial(_aclose, iterator, taken, put_back), callbacks)


def _chunked_items(portal: Portal, iterator: AsyncIterator[Iterator[Any]]) -> Iterator[Any]:
    """Iterate over items that arrive in chunks, with one change of threads per chunk."""
    chunks = _items(portal, iterator, None)
    try:
        for chunk in chunks:
            yield from chunk
    finally:
        chunks.close()  # type: ignore[attr-defined]


async def _next(iterator: AsyncIterator[Any], taken: list[Any]) -> Any:
    item = await anext(iterator, _END)
    if item is not _END:
        taken.append(item)
    return item


async def _aclose(iterator: AsyncIterator[Any], taken: list[Any], put_back: Callable[[Any], None] | None) -> None:
    if put_back is not None:
        for item in taken:
            put_back(item)
    close = getattr(iterator, "aclose", None)
    if close is not None:
        # Raised if the interrupted task has not ended; it closes the iterator itself.
        with suppress(RuntimeError):
            await close()


def _documented(method: Any, source: Any) -> Any:
    """Give a method the name, the signature and the translated docstring of its source."""
    name = NAMES.get(source.__name__) or source.__name__
    method = update_wrapper(method, source)
    method.__doc__ = blocking_text(source.__doc__)
    method.__name__, method.__qualname__ = name, f"{source.__qualname__.rpartition('.')[0]}.{name}"
    method.__module__ = "videoapi.blocking"
    return method


def adapters_of(function: Callable[..., Any]) -> dict[str, tuple[int, Adapter]]:
    """Return the parameters that need another form in the event loop: their positions and adapters."""
    known = _ADAPTERS_OF.get(function)
    if known is None:
        known = {}
        for position, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
            for word in re.findall(r"\w+", str(parameter.annotation)):
                if word in _ADAPTERS:
                    known[name] = (position - 1, _ADAPTERS[word])
        _ADAPTERS_OF[function] = known
    return known


def _adapted(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], portal: Portal | None
) -> tuple[tuple[Any, ...], dict[str, Any], Callbacks | None]:
    """Return the arguments as the event loop needs them, and the callbacks among them."""
    adapters = adapters_of(function)
    if not adapters:
        return args, dict(kwargs), None
    callbacks = Callbacks(portal.is_ending if portal is not None else lambda: False)
    given, named = list(args), dict(kwargs)
    try:
        for name, (position, adapter) in adapters.items():
            if name in named:
                named[name] = _one(named[name], adapter, callbacks, portal)
            elif position < len(given):
                given[position] = _one(given[position], adapter, callbacks, portal)
        return tuple(given), named, callbacks
    finally:
        # An adapter can refuse its argument, and the others may be secrets.
        del args, kwargs, given, named


def _one(value: Any, adapter: Adapter, callbacks: Callbacks, portal: Portal | None) -> Any:
    if isinstance(value, Blocking) and portal in (None, value._portal):
        # The loop can read it without the calling thread.
        return value._source
    return adapter(value, callbacks)


def _session(session: Any, callbacks: Callbacks) -> Any:
    if session is not None:
        raise ConfigurationError(
            f"session must be a SessionManager of videoapi.blocking, not {type(session).__module__}."
            f"{type(session).__name__}."
        )
    return session


def _lease(lease: Any, callbacks: Callbacks) -> Any:
    # Asked before each request, in the event loop of the client: without a change of threads.
    return lease._source if isinstance(lease, Blocking) else lease


_END: Final = object()
_FORMS: Final[dict[type, Any]] = {}
_IS_ASYNC: Final[dict[type, bool]] = {}
_ADAPTERS_OF: Final[dict[Callable[..., Any], dict[str, tuple[int, Adapter]]]] = {}
_ADAPTERS: Final[dict[str, Adapter]] = {
    "AsyncIterable": pulled,
    "BulkProgress": served,
    "DownloadProgress": latest,
    "CredentialsSource": threaded,
    "Lease": _lease,
    "SessionManager": _session,
}
