"""Lists of options: what a data provider may answer, and which values are among it."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from pydantic import BaseModel

from bifrost.errors import ValidationError
from bifrost.messages import OptionCheck
from bifrost.record import record
from bifrost.temporal.providers.choices import options_of, refusal


class Model(BaseModel):
    """An option as a pydantic model."""

    label: str
    value: uuid.UUID
    metadata: dict[str, Any] | None = None


@dataclasses.dataclass
class Plain:
    """An option as a dataclass."""

    label: str
    value: int


def test_options_come_as_json() -> None:
    """Dictionaries, records, models and dataclasses, in the order in which they were returned; also none at all."""
    made = options_of([{"label": "A", "value": "a"}, record({"label": "B", "value": 2.5, "metadata": {"x": [1]}}),
                       Model(label="C", value=uuid.UUID(int=7)), Plain("D", 4), {"label": "E", "value": False}], "sizes")
    assert made == [
        {"label": "A", "value": "a"}, {"label": "B", "value": 2.5, "metadata": {"x": [1]}},
        {"label": "C", "value": "00000000-0000-0000-0000-000000000007", "metadata": None}, {"label": "D", "value": 4},
        {"label": "E", "value": False}]
    assert options_of([], "sizes") == []
    assert len(options_of([Plain(str(number), number) for number in range(1000)], "sizes")) == 1000


GOOD = {"label": "A", "value": "a"}


@pytest.mark.parametrize(("answer", "field", "said"), [
    ({"label": "A"}, None, "Data provider 'sizes' must return a list, got dict"),
    ((GOOD,), None, "must return a list, got tuple"),
    ([{"label": str(number), "value": number} for number in range(1001)], None, "returned 1,001 options, and 1,000 is the most"),
    ([GOOD, "b"], "options[1]", "Data provider 'sizes': options[1] is of type str. An option is {"),
    ([GOOD, None], "options[1]", "options[1] is null"),
    ([{"name": "A"}], "options[0]", "options[0] has no label and no value"),
    ([{**GOOD, "id": 1}], "options[0]", "options[0] has an unknown field 'id': put it into metadata"),
    ([{"label": " ", "value": 1}], "options[0].label", "options[0].label is empty"),
    ([{"label": 5, "value": 1}], "options[0].label", "options[0].label is of type int: it must be a text to show"),
    ([GOOD, {"label": "B", "value": ""}], "options[1].value", "options[1].value is empty"),
    ([{"label": "B", "value": None}], "options[0].value", "options[0].value is empty"),
    ([{"label": "B", "value": ["b"]}], "options[0].value", "options[0].value is of type list: it must be a text, a number"),
    ([{**GOOD, "metadata": "m"}], "options[0].metadata", "options[0].metadata is of type str: it must be a dictionary"),
    ([{"label": "1", "value": 1}, GOOD, {"label": "one", "value": "1"}], "options[2].value",
     "options[2] has the value of options[0], '1'"),
    ([GOOD, {"label": "B", "value": "b", "metadata": {"x": object()}}], "options[1].metadata.x",
     "options[1].metadata.x: builtins.object is no JSON"),
])
def test_what_is_no_list_of_options_is_refused(answer: Any, field: str | None, said: str) -> None:
    """The refusal names the data provider and the first option at fault, by its index."""
    with pytest.raises(ValidationError) as refused:
        options_of(answer, "sizes")
    assert said in str(refused.value)
    assert "'sizes'" in str(refused.value)
    assert refused.value.field == field


OPTIONS = [{"label": "Finance", "value": "fin"}, {"label": "Human Resources", "value": "hr"}, {"label": "7", "value": 7},
           {"label": "Yes", "value": True}]


@pytest.mark.parametrize(("values", "said"), [
    (["fin"], None), (["fin", "hr"], None), ([], None), (["7"], None), ([7.0], None), (["true"], None),
    (["finn"], "'finn' is none. Did you mean 'fin' (Finance)?"), (["FINANCE"], "Did you mean 'fin' (Finance)?"),
    (["fin", "human resource"], "'human resource' is none. Did you mean 'hr' (Human Resources)?"),
    ([77], "77 is none. Did you mean '7'?"),
    (["zzz"], "Parameter 'department' must be one of the options of 'departments', and 'zzz' is none"),
])
def test_a_value_is_among_the_options_or_is_told_what_is(values: list[Any], said: str | None) -> None:
    """Values are compared as the texts that a form sends; what is similar to a value or to a label is named."""
    why = refusal(OptionCheck(parameter="department", provider="departments", values=values), OPTIONS)
    assert why == said or (said is not None and why is not None and why.endswith(said))


def test_no_options_are_said_to_be_none() -> None:
    """Where nothing is offered, there is nothing to be similar."""
    why = refusal(OptionCheck(parameter="department", provider="departments", values=["a"]), [])
    assert why == "Parameter 'department' must be one of the options of 'departments', and 'a' is none: there are no options now"
