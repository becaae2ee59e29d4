"""Records: dictionaries that also answer attributes."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from bifrost.record import Page, Record, camel, record

SKUS = {"@odata.context": "x", "value": [{"skuPartNumber": "E3", "prepaidUnits": {"enabled": 25}, "consumedUnits": 3},
                                         {"skuPartNumber": "E5", "prepaidUnits": {"enabled": 5}, "consumedUnits": 5}]}


@pytest.mark.parametrize(("name", "spelled"), [
    ("display_name", "displayName"), ("displayName", "displayName"), ("id", "id"), ("a_b_c", "aBC"), ("x__y", "xY")])
def test_names_in_camel_case(name, spelled):
    """snake_case becomes camelCase; camelCase stays."""
    assert camel(name) == spelled


def test_fields_are_read_in_either_spelling():
    """A key is read as an item or an attribute, in snake_case or as it is spelled, however deep."""
    sku = record(SKUS).value[0]
    assert sku.prepaid_units.enabled == sku["prepaidUnits"]["enabled"] == sku.prepaidUnits.enabled == 25
    assert sku.get("skuPartNumber") == sku.sku_part_number == "E3"


def test_a_key_spelled_exactly_so_goes_first():
    """Where both spellings are keys, an attribute is the one spelled as it is."""
    both = Record(display_name="snake", displayName="camel")
    assert (both.display_name, both.displayName) == ("snake", "camel")


def test_a_missing_field_names_those_there_are():
    """A misspelt attribute is an AttributeError that helps; getattr with a default works."""
    with pytest.raises(AttributeError, match="No field 'nmae'; the fields are: id, name"):
        Record(name="Ada", id=1).nmae  # noqa: B018 - reading it is the test
    with pytest.raises(AttributeError, match="the fields are: none"):
        Record().x  # noqa: B018 - reading it is the test
    assert getattr(Record(), "x", "default") == "default"


def test_attributes_can_be_set():
    """Setting an attribute sets the key, under the spelling that is there already."""
    user = Record(displayName="Ada")
    user.display_name = "Bob"
    user.job_title = "Engineer"
    assert user == {"displayName": "Bob", "job_title": "Engineer"}


def test_a_page_is_its_items():
    """A collection has the length, items, slices and order of its value, and keeps its keys."""
    page = record(SKUS)
    assert isinstance(page, Page)
    assert (len(page), [sku.sku_part_number for sku in page], page[1].sku_part_number) == (2, ["E3", "E5"], "E5")
    assert page[:1] == page.value[:1]
    assert (page["@odata.context"], page["value"]) == ("x", page.value)
    assert bool(record({"value": []})) is True


@pytest.mark.parametrize("value", [SKUS, {"a": [1, {"b_c": None}]}, {"value": []}, {}])
def test_a_record_stays_a_plain_dictionary(value):
    """Equality, JSON, copies, pickles and unpacking see the dictionary that came in."""
    made = record(value)
    assert made == value
    assert json.loads(json.dumps(made)) == json.loads(json.dumps(made, indent=1)) == value
    assert {**made} == dict(made.items()) == value
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (again, type(again)) == (value, type(made))


@pytest.mark.parametrize("value", [None, 5, "text", [1, 2]])
def test_what_is_no_dictionary_stays_as_it_is(value):
    """Only dictionaries become records."""
    assert record(value) == value


def test_a_value_that_is_no_list_makes_no_page():
    """A field that happens to be called value is a field."""
    assert type(record({"value": "text"})) is Record
