"""A run that waits for somebody's approval before its code begins: `@workflow(requires_approval=True)`.

Approved is by the Temporal update `approve`, whose answer reaches whoever sends it: who may not approve is told so, and
nothing is recorded. Its argument is `{"by": {"user_id", "email"?, "name"?}, "approved": true | false, "note"?}`.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError as InvalidMessage
from temporalio import workflow

from bifrost.errors import PermissionError, ValidationError  # noqa: A004 - the name is the guide's
from bifrost.messages import ApprovalMessage, CallerMessage
from bifrost.temporal.run.durable_context import DurableContext


class Approval:
    """The approval of one run."""

    def __init__(self) -> None:
        self._asked: CallerMessage | None = None
        self._decision: ApprovalMessage | None = None

    def check(self, argument: Any) -> ApprovalMessage:
        """The decision that an update carries.

        Raises:
            ValidationError: it is none, or none is waited for.
            PermissionError: it comes from whoever started the execution.
        """
        try:
            decision = ApprovalMessage.model_validate(argument)
        except InvalidMessage as error:
            first = error.errors()[0]
            raise ValidationError(f"{'.'.join(map(str, first['loc'])) or 'the argument'}: {first['msg']}. An approval has the form "
                                  '{"by": {"user_id": "u1"}, "approved": true}', field="approve") from None
        if self._asked is None or self._decision is not None:
            raise ValidationError("This execution waits for no approval", field="approve")
        if _are_one(decision.by, self._asked):
            raise PermissionError("Whoever started an execution cannot approve it", required_permission="approve")
        return decision

    def decide(self, decision: ApprovalMessage) -> None:
        """Take a decision; the first one counts."""
        self._decision = decision

    async def wait(self, context: DurableContext, caller: CallerMessage) -> None:
        """Wait until somebody other than the caller has decided; that, who and when is written down.

        Raises:
            PermissionError: the execution was rejected.
        """
        self._asked = caller
        context.save_checkpoint("approval requested", {"by": _shown(caller)})
        await workflow.wait_condition(lambda: self._decision is not None)
        assert self._decision is not None, "just waited for"
        who, note = _shown(self._decision.by), self._decision.note
        word = "approved" if self._decision.approved else "rejected"
        context.save_checkpoint(word, {"by": who, "user_id": self._decision.by.user_id, **({"note": note} if note else {})})
        if not self._decision.approved:
            raise PermissionError(f"Rejected by {who}" + (f": {note}" if note else ""), rejected_by=self._decision.by.user_id)


def _are_one(one: CallerMessage, other: CallerMessage) -> bool:
    emails = one.email.casefold(), other.email.casefold()
    return one.user_id == other.user_id or (emails[0] == emails[1] != "")


def _shown(who: CallerMessage) -> str:
    return who.name or who.email or who.user_id
