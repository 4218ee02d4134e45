"""What a client reports to OpenTelemetry, and whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from videoapi.config import BaseUrl
from videoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from videoapi.telemetry.recorder import Recorder


class TracerProvider(Protocol):
    """OpenTelemetry's `TracerProvider`, described here so that type hints resolve without the package."""

    def get_tracer(self, name: str, version: str, /) -> Any: ...


class MeterProvider(Protocol):
    """OpenTelemetry's `MeterProvider`."""

    def get_meter(self, name: str, version: str, /) -> Any: ...


@attrs.frozen(kw_only=True)
class Telemetry:
    """The OpenTelemetry settings of a client.

    Args:
        tracer_provider: The provider of the spans' tracer; by default the global provider, even if it is set later.
        meter_provider: The provider of the metrics' meter; by default the global provider, even if it is set later.
        traceparent: Whether each attempt carries the W3C headers `traceparent` and `tracestate` of its span.

    Example:
        >>> settings = Telemetry(traceparent=True)
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    traceparent: bool = False


def recorder_for(given: Telemetry | bool | None, base: BaseUrl) -> Recorder | None:
    """Return what records the operations of a client; None if it is switched off or not installed.

    Args:
        given: The client's `telemetry=`; None records if OpenTelemetry's API is installed.
        base: The base URL of the API.

    Raises:
        ConfigurationError: If it is requested and not installed, or not a setting.
    """
    if given is False:
        return None
    if given is not None and given is not True and not isinstance(given, Telemetry):
        raise ConfigurationError(f"telemetry must be True, False or a Telemetry, not {type(given).__name__}.")
    try:
        from videoapi.telemetry.recorder import Recorder
    except ImportError:
        if given is None:
            return None
        raise ConfigurationError("telemetry= needs OpenTelemetry's API: pip install 'videoapi[otel]'.") from None
    return Recorder(base, given if isinstance(given, Telemetry) else Telemetry())
