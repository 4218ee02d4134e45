"""The action that sends a webhook."""

from videoapi.sandbox.announcer import Announcer
from videoapi.sandbox.console.actions import Action, Field
from videoapi.sandbox.notifications import TYPES
from videoapi.sandbox.store import Store
from videoapi.sandbox.webhook_sender import WebhookSender

_SESSION = "About the room's latest session; without one, about a made-up one"
_RECORDED = "About the room's latest recorded session; without one, about a made-up one"
_TEXTS = {kind: _SESSION if type == "roomdrop" else _RECORDED for kind, type in TYPES.items()}


def webhook_action(store: Store, sender: WebhookSender, announcer: Announcer) -> Action:
    """Return the action.

    Args:
        store: The sessions that it can announce.
        sender: Has the target by default.
        announcer: Sends the notification.
    """

    async def send(kind: str, room_id: str, url: str | None) -> str:
        recorded = TYPES[kind] != "roomdrop"
        conf_num = store.records.latest_session(room_id, recorded=recorded) or store.new_id()
        delivery = await announcer.send(kind, room_id, conf_num, url)
        about = f"{delivery.type} of session {conf_num}, sent to {delivery.url}"
        return f"{delivery.outcome} after {delivery.seconds:.2f} s: {about}"

    hint = "http:// or https://"
    if sender.target is not None:
        hint = f"Empty: {sender.target.shown}"
        hint += ". No other URL is sent the credentials" if sender.target.authorization else ""
    fields = (
        Field("kind", "Kind", "choice", default=next(iter(TYPES)), choices=_TEXTS, required=True),
        Field("room_id", "Room", "room-id", required=True, hint="The ID of a room, which need not exist"),
        Field("url", "URL", "url", required=not sender.enabled, hint=hint),
    )
    return Action("webhook", "Send a webhook", "Send", send, fields)
