"""The envelope of a list: one page of resources, and the way to its neighbours."""

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from turncall_phone.rest.forms import Form

PAGE_KEYS = frozenset({"Page", "PageSize", "PageToken"})
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page[T](
    items: Sequence[T],
    show: Callable[[T], dict[str, object]],
    *,
    key: str,
    path: str,
    form: Form,
    filters: frozenset[str],
) -> dict[str, object]:
    """The page of `items` that `form` asks for (`Page` from 0, `PageSize` 50 unless given, 1000 at most).

    The neighbours' URIs keep the filters. `PageToken` needs no reading here: a page number finds its page by itself.
    """
    number = form.whole("Page", 0, low=0, high=1_000_000)
    size = min(form.whole("PageSize", DEFAULT_PAGE_SIZE, low=1, high=1_000_000), MAX_PAGE_SIZE)
    first = number * size
    shown = items[first : first + size]

    def uri(at: int) -> str:
        query = [(name, form.text(name)) for name in sorted(filters) if form.has(name)]
        return f"{path}?{urlencode([*query, ('PageSize', str(size)), ('Page', str(at))])}"

    return {
        "page": number,
        "page_size": size,
        "start": first,
        "end": first + len(shown) - 1 if shown else first,
        "uri": uri(number),
        "first_page_uri": uri(0),
        "next_page_uri": uri(number + 1) if first + size < len(items) else None,
        "previous_page_uri": uri(number - 1) if number else None,
        key: [show(item) for item in shown],
    }
