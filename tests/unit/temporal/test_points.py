"""Where an execution is resumed, found in histories that are written here by hand."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from bifrost import messages
from bifrost.errors import NotFoundError, ValidationError
from bifrost.messages import ResumeMessage
from bifrost.temporal.resuming import differences, points, resets
from bifrost.temporal.resuming.points import Point


class Story:
    """A history that is being written; each method answers the id of the event it wrote last."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []
        self.decided = 0
        self.add("WORKFLOW_EXECUTION_STARTED")

    def add(self, kind: str, **attributes: Any) -> int:
        """An event of a kind."""
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=f"EVENT_TYPE_{kind}")
        getattr(event, f"{kind.lower()}_event_attributes").SetInParent()
        event = HistoryEvent(event_id=event.event_id, event_type=event.event_type, **{f"{kind.lower()}_event_attributes": attributes})
        self.events.append(event)
        return event.event_id

    def task(self, end: str = "COMPLETED", **attributes: Any) -> int:
        """A workflow task, whole."""
        self.add("WORKFLOW_TASK_SCHEDULED")
        self.add("WORKFLOW_TASK_STARTED")
        self.decided = self.add(f"WORKFLOW_TASK_{end}", **attributes)
        return self.decided

    def call(self, name: str = "shop.sell", activity_id: str = "") -> int:
        """A call that the last task made."""
        return self.add("ACTIVITY_TASK_SCHEDULED", activity_type={"name": name}, activity_id=activity_id or str(len(self.events)),
                        workflow_task_completed_event_id=self.decided)

    def checkpoint(self, name: str) -> int:
        """A checkpoint that the last task passed."""
        return self.call(messages.CHECKPOINT, f"checkpoint:{name}")

    def succeeds(self, call: int) -> int:
        """How a call ends well."""
        return self.add("ACTIVITY_TASK_COMPLETED", scheduled_event_id=call)

    def fails(self, call: int, said: str = "no") -> int:
        """How a call fails for good."""
        return self.add("ACTIVITY_TASK_FAILED", scheduled_event_id=call, failure={"message": said})

    def closes(self) -> int:
        """The code has ended, as the last task knows."""
        return self.add("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", workflow_task_completed_event_id=self.decided,
                        search_attributes={"indexed_fields": {messages.OUTCOME_ATTRIBUTE: {}}})

    def failed(self, said: str = "no", cause: str = "") -> Point:
        """The run's failure; where it would be resumed."""
        failure: dict[str, Any] = {"message": said, **({"cause": {"message": cause}} if cause else {})}
        self.add("WORKFLOW_EXECUTION_FAILED", failure=failure, workflow_task_completed_event_id=self.decided)
        return points.last_good(self.events)


@pytest.fixture
def story() -> Story:
    """A history whose first task made a call that succeeded."""
    begun = Story()
    begun.task()
    begun.succeeds(begun.call())
    return begun


@pytest.mark.parametrize(("said", "cause"), [("no", ""), ("it could not be sold", "no"), ("something else", "")])
def test_the_call_whose_failure_ended_the_run(story: Story, said: str, cause: str) -> None:
    """It is known by what was said, also as the cause of another error, or by being the news that the code raised at."""
    made = story.task()
    story.fails(story.call("shop.pay"))
    story.task()
    story.closes()
    assert story.failed(said, cause) == Point(made, "shop.pay")


def test_of_several_attempts_of_the_code_the_last(story: Story) -> None:
    """What the code tried again itself is gone through again only for the last time."""
    for _ in range(3):
        made = story.task()
        story.fails(story.call())
    story.task()
    assert story.failed().event_id == made


def test_a_failure_that_the_code_lived_with_is_no_reason(story: Story) -> None:
    """Where the code raised later by itself, the task in which it did so is the point."""
    story.task()
    story.fails(story.call())
    story.task()
    story.succeeds(story.call())
    raised = story.task()
    story.closes()
    assert story.failed("division by zero") == Point(raised, "the workflow's code")


def test_what_is_only_written_down_after_the_end_is_no_point(story: Story) -> None:
    """A run that ended waits for its checkpoints; the point is where its code ended."""
    raised = story.task()
    last = story.checkpoint("last")
    story.closes()
    story.task()
    story.succeeds(last)
    story.task()
    assert story.failed("division by zero").event_id == raised


@pytest.mark.parametrize(("kind", "said"), [
    ("TIMEOUT_TYPE_HEARTBEAT", "shop.pay was lost with its worker, in every attempt"),
    ("TIMEOUT_TYPE_START_TO_CLOSE", "shop.pay did not end in time, in any attempt")])
def test_a_call_that_ran_out_of_time(story: Story, kind: str, said: str) -> None:
    """Temporal's timeouts are known by the words that user code gets for them."""
    made = story.task()
    story.add("ACTIVITY_TASK_TIMED_OUT", scheduled_event_id=story.call("shop.pay"),
              failure={"message": "timeout", "timeout_failure_info": {"timeout_type": kind}})
    story.task()
    story.succeeds(story.call("mail.send"))
    story.task()
    assert story.failed(said) == Point(made, "shop.pay", later=("mail.send",))


def test_undoing_begins_where_the_code_ended(story: Story) -> None:
    """Calls that undo come after the point, and are told."""
    raised = story.task()
    story.checkpoint("undoing")
    story.succeeds(story.call("shop.take_back"))
    story.task()
    story.closes()
    assert story.failed("division by zero") == Point(raised, "the workflow's code", undone=True)


def test_a_cancelled_run_goes_on_before_it_was_asked(story: Story) -> None:
    """The last task before the cancellation; what the clean-up called is told."""
    made = story.task()
    story.call()
    story.add("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    story.task()
    story.call("shop.clean_up")
    story.task()
    story.add("WORKFLOW_EXECUTION_CANCELED", workflow_task_completed_event_id=story.decided)
    assert points.last_good(story.events) == Point(made, "what was cancelled", later=("shop.clean_up",))


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "TIMED_OUT"])
def test_a_terminated_run_goes_on_at_its_last_task(story: Story, end: str) -> None:
    """Also where that task failed, or was lost with its worker."""
    last = story.task(end)
    story.call()
    story.add("WORKFLOW_EXECUTION_TERMINATED")
    assert points.last_good(story.events) == Point(last, "what was under way")


@pytest.mark.parametrize(("end", "said"), [("WORKFLOW_EXECUTION_COMPLETED", "It succeeded"),
                                           ("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", "It went on as a new run")])
def test_what_ended_well_has_no_point(story: Story, end: str, said: str) -> None:
    """Nothing is to be done anew there."""
    story.task()
    story.add(end)
    with pytest.raises(ValidationError, match=said):
        points.last_good(story.events)


def test_what_has_not_begun_has_no_point() -> None:
    """An execution that no worker took up cannot be resumed."""
    story = Story()
    story.add("WORKFLOW_EXECUTION_TERMINATED")
    with pytest.raises(ValidationError, match="It has not begun"):
        points.last_good(story.events)


def test_a_checkpoint_that_repeats(story: Story) -> None:
    """The last of its name is meant; an unknown one is answered with those there are."""
    names = {}
    for name in ("a", "b", "a"):
        made = story.task()
        names[story.checkpoint(name)] = name
    assert points.at_checkpoint(story.events, names, "a") == Point(made, "checkpoint a")
    with pytest.raises(NotFoundError, match=r"Checkpoint 'c' not found\. It has passed: a, b"):
        points.at_checkpoint(story.events, names, "c")
    with pytest.raises(NotFoundError, match="It has passed none"):
        points.at_checkpoint(story.events, {}, "c")


def test_a_child_under_way_moves_the_point_or_forbids_it(story: Story) -> None:
    """A reset run would wait for it for ever; so would one that is reset to a checkpoint meanwhile."""
    first = story.task()
    child = story.add("START_CHILD_WORKFLOW_EXECUTION_INITIATED", workflow_type={"name": "child"},
                      workflow_task_completed_event_id=first)
    story.task()
    names = {story.checkpoint("a"): "a"}
    story.fails(story.call())
    story.task()
    assert story.failed() == Point(first, "workflow child")
    with pytest.raises(ValidationError, match="At checkpoint a workflow child was under way"):
        points.at_checkpoint(story.events, names, "a")
    story.events.insert(-1, HistoryEvent(event_id=len(story.events), event_type="EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED",
                                         child_workflow_execution_completed_event_attributes={"initiated_event_id": child}))
    assert points.last_good(story.events) == Point(first, "workflow child", again=("workflow child",))


@pytest.mark.parametrize(("cause", "stuck"), [("WORKFLOW_WORKER_UNHANDLED_FAILURE", True), ("NON_DETERMINISTIC_ERROR", True),
                                              ("RESET_WORKFLOW", False), ("UNHANDLED_COMMAND", False)])
def test_a_task_that_fails_is_stuck(story: Story, cause: str, *, stuck: bool) -> None:
    """Unless it failed for a reason that nothing is wrong with, or another one came through since."""
    story.task("FAILED", cause=f"WORKFLOW_TASK_FAILED_CAUSE_{cause}")
    assert points.is_stuck(story.events) is stuck
    story.task()
    assert not points.is_stuck(story.events)


def test_what_has_to_come_again(story: Story) -> None:
    """Everything before the task of the point; nothing where that is the first, since the code begins anew."""
    story.events.clear()
    story.add("WORKFLOW_EXECUTION_STARTED")
    first = story.task()
    call = story.call()
    story.succeeds(call)
    second = story.task()
    assert points.prefix(story.events, Point(first, "")) == []
    assert [event.event_id for event in points.prefix(story.events, Point(second, ""))] == [*range(1, call + 2)]


@pytest.mark.parametrize("text", ["", "x", "[]", '{"bifrost": 1}', '{"bifrost": {"keep": "perhaps"}}', "\n{}", '{"other": {}}'])
def test_a_reason_that_is_no_note(text: str) -> None:
    """Whatever somebody writes as the reason of a reset, it is no note of a resume unless it is one."""
    story = Story()
    story.task("FAILED", cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW, base_run_id="r",
               failure={"message": text})
    assert resets.resets_in(story.events) == (resets.Reset("r", story.decided, None),)


def test_a_note_is_found_again() -> None:
    """A reason of several lines holds its note whole, and is told from other failures of tasks."""
    story, note = Story(), ResumeMessage(revision="ab", path="workflows/ä.py", integrations=["b", "a"], keep=False)
    story.task("FAILED", cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNSPECIFIED, failure={"message": resets.reason("", note)})
    story.task("FAILED", cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW, base_run_id="r",
               failure={"message": resets.reason("two\nlines", note)})
    assert [reset.note for reset in resets.resets_in(story.events)] == [note]


def test_a_difference_that_is_not_known_is_told_as_it_is() -> None:
    """Of what core says the part that matters is told, and whole where nothing is known of it."""
    story = Story()
    assert differences.difference(story.events, "something odd.") == "something odd"
    assert differences.difference(story.events, 'x Nondeterminism error: HistoryEvent(id: 1, X)", source') == (
        "where the execution came to 'workflow execution started' (event 1), it does something else, or fails")
    said = "Activity id of scheduled event \\'9\\' does not match activity id of activity command \\'10\\'"
    assert differences.difference(story.events, f'Nondeterminism error: {said}", source: ""') == (
        "where the execution made call 9, it makes another call")
