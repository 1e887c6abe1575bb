"""Acknowledgements of alerts: the request and its answer."""

from __future__ import annotations

from marshmallow import Schema, validate
from marshmallow.fields import Str

MAX_NAME_CHARACTERS = 64
MAX_COMMENT_CHARACTERS = 1000
MAX_ALERT_ID_CHARACTERS = 256


def _without_nul(longest: int) -> list[validate.Validator]:
    """The checks of a text; PostgreSQL takes no NUL."""
    return [validate.Length(max=longest), validate.ContainsNoneOf("\0", error="Must not contain NUL.")]


class AcknowledgeSchema(Schema):
    """Who acknowledges an alert, and why. Both may be missing."""

    by = Str(
        allow_none=True,
        validate=_without_nul(MAX_NAME_CHARACTERS),
        metadata={"description": "Your name; used only without a credential, which has a name itself", "example": "ada"},
    )
    comment = Str(
        allow_none=True, validate=_without_nul(MAX_COMMENT_CHARACTERS), metadata={"description": "For people", "example": "on it"}
    )


class AcknowledgeAlertSchema(AcknowledgeSchema):
    """The body of the event `acknowledge_alert`, which names the alert too."""

    alert_id = Str(
        required=True,
        validate=validate.Length(1, MAX_ALERT_ID_CHARACTERS),
        metadata={"description": "As `/alerts` has it", "example": "system:disk:critical:1763469296789"},
    )


class AcknowledgedSchema(Schema):
    """The alert is acknowledged. A repetition gets the first answer again."""

    status = Str(required=True, validate=validate.Equal("acknowledged"))
    alert_id = Str(required=True)
    acknowledged_at = Str(required=True, metadata={"description": "Time of the first acknowledgement", "format": "date-time"})
    acknowledged_by = Str(
        required=True, allow_none=True, metadata={"description": "Name of the key or the token's subject, else `by`; null if there is none"}
    )
