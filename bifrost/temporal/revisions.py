"""Which revisions open executions need, by Temporal's index."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.service import RPCError

from bifrost import messages
from bifrost.temporal.history import refusal

PAGE: Final = 1000
"""How many executions are read at once."""

# Whatever has not ended is open: a paused execution too, which is not `Running`.
_OPEN: Final = ("ExecutionStatus NOT IN ('Completed', 'Failed', 'Canceled', 'Terminated', 'ContinuedAsNew', 'TimedOut') "
                f"AND {messages.REVISION_ATTRIBUTE} IS NOT NULL")


async def open_executions(client: Client, *, page: int = PAGE) -> Counter[str]:
    """How many open executions of the client's namespace began with each revision.

    The index follows an execution within a second or so: one that has just begun is not counted yet, and one that has not
    begun has no revision.

    Args:
        client: Made by `client.connect`.
        page: How many executions are read at once.

    Raises:
        ConfigurationError: there is no such namespace, or Temporal refuses, for example because Bifrost's search attributes
            are not registered.
    """
    found: Counter[str] = Counter()
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=_OPEN, page_size=page)
    while True:
        # Not `Client.list_workflows`, which cannot read an execution that is paused.
        try:
            answer = await client.workflow_service.list_workflow_executions(request, retry=True)
        except RPCError as error:
            raise refusal(error, client) from error
        found.update(json.loads(execution.search_attributes.indexed_fields[messages.REVISION_ATTRIBUTE].data)
                     for execution in answer.executions)
        if not answer.next_page_token:
            return found
        request.next_page_token = answer.next_page_token
