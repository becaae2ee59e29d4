"""Collections that come in pages: where an answer has its items, and how it says that there are more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from bifrost.errors import IntegrationError, ValidationError
from bifrost.integrations.answers import unreadable


class Pages:
    """The way through a collection, one answer after the other. It makes no request itself.

    Args:
        integration: What errors call the other system.
        url: The first page.
        items: The field of an answer that has the items, dotted where it lies deeper; None: the answer is the list.
        next: The field that has the next page's URL, or with `cursor` its cursor. None: the header `Link` with `rel="next"`
            (https://www.rfc-editor.org/rfc/rfc8288) has the URL.
        cursor: The parameter of the query that takes the cursor.
        page: The parameter that takes the number of a page; the first page without items is the last.
        first_page: The number of the first page.

    Attributes:
        url: The page to ask for next, or None after the last one.

    Raises:
        ValidationError: these do not go together.
    """

    def __init__(self, integration: str, url: httpx.URL, *, items: str | None = None, next: str | None = None,  # noqa: A002 - the fields' usual name
                 cursor: str | None = None, page: str | None = None, first_page: int = 1) -> None:
        if (cursor and not next) or (page and next):
            raise ValidationError("Pages are found by a link (next), by a cursor (next and cursor) or by their number (page)",
                                  field="cursor" if cursor else "page")
        self.url: httpx.URL | None = url.copy_set_param(page, first_page) if page else url
        self._integration = integration
        self._items = items
        self._next = next
        self._cursor = cursor
        self._page = page
        self._number = first_page
        self._seen = {str(self.url)}
        self._last: list[Any] = []

    def read(self, response: httpx.Response) -> list[Any]:
        """The items of the answer for `url`, which is the next page's from now on.

        Raises:
            IntegrationError: it is no JSON, has no list where the items should be, or leads to a page that was read already.
        """
        assert self.url is not None, "there was a page to ask for"
        try:
            answer = response.json()
        except ValueError as error:
            raise self._wrong(response, "with something that is no JSON") from error
        listed = answer if self._items is None else _at(answer, self._items)
        if listed is None and self._items is not None:  # how several systems write that there are none
            listed = []
        if not isinstance(listed, list):
            place = "" if self._items is None else f" at '{self._items}'"
            raise self._wrong(response, f"without a list{place}, where the items of the page should be")
        self.url = self._numbered(self.url, response, listed) if self._page else self._linked(self.url, response, answer)
        return listed

    def _numbered(self, url: httpx.URL, response: httpx.Response, listed: list[Any]) -> httpx.URL | None:
        if not listed:
            return None
        if listed == self._last:
            raise self._wrong(response, f"with the same page again; does it know the parameter '{self._page}'?")
        self._last = listed
        self._number += 1
        return url.copy_set_param(str(self._page), self._number)

    def _linked(self, url: httpx.URL, response: httpx.Response, answer: Any) -> httpx.URL | None:
        link = _next_of(response) if self._next is None else _at(answer, self._next)
        if link is None or link == "":
            return None
        following = self._followed(url if self._cursor else response.url, link)
        if following is None:
            raise self._wrong(response, f"with a next page that is no {'cursor' if self._cursor else 'link'}")
        if str(following) in self._seen:
            raise self._wrong(response, "with a next page that was read already: its pages run in a circle")
        self._seen.add(str(following))
        return following

    def _followed(self, url: httpx.URL, link: Any) -> httpx.URL | None:
        if self._cursor:
            return url.copy_set_param(self._cursor, link) if type(link) in (str, int) else None
        try:
            following = url.join(link).copy_with(fragment=None)
        except (TypeError, httpx.InvalidURL):
            return None
        return following if following.scheme in ("http", "https") and following.host else None

    def _wrong(self, response: httpx.Response, problem: str) -> IntegrationError:
        return unreadable(self._integration, response, problem)


def _at(answer: Any, path: str) -> Any:
    """The field of an answer: the one that is spelled exactly so, as `@odata.nextLink` is, else the dotted one."""
    if isinstance(answer, Mapping) and path in answer:
        return answer[path]
    for part in path.split("."):
        answer = answer.get(part) if isinstance(answer, Mapping) else None
    return answer


def _next_of(response: httpx.Response) -> str | None:
    """The target of the `Link` whose relations, of which one link may have several, include `next`."""
    return next((link["url"] for link in response.links.values() if "next" in (link.get("rel") or "").lower().split()), None)
