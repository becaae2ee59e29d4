"""The search attributes by which executions are found, as the SDK takes them; their names are in `messages`."""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey

from bifrost import messages

ORG: Final = SearchAttributeKey.for_keyword(messages.ORG_ATTRIBUTE)
CALLER: Final = SearchAttributeKey.for_keyword(messages.CALLER_ATTRIBUTE)
OUTCOME: Final = SearchAttributeKey.for_keyword(messages.OUTCOME_ATTRIBUTE)
CHECKPOINT: Final = SearchAttributeKey.for_keyword(messages.CHECKPOINT_ATTRIBUTE)
REVISION: Final = SearchAttributeKey.for_keyword(messages.REVISION_ATTRIBUTE)
SCHEDULED_TIME: Final = SearchAttributeKey.for_datetime(messages.SCHEDULED_TIME_ATTRIBUTE)
"""Temporal's own, of an execution that a schedule has started."""
