"""URLs of users' own servers, checked when they are written; the wall checks every connection to them again."""

from turncall_control.errors import Invalid
from turncall_control.plane import Plane
from turncall_egress import Failed, Refused, checked_url


async def check_url(plane: Plane, url: str, field: str = "url") -> None:
    """Raises `Invalid` for a URL that the wall would refuse, and for plain http in production.

    A name without an address is let through: it may get one, and what is sent there fails until then.
    """
    if plane.config.env == "production" and not url.startswith("https://"):
        raise Invalid.at(field, "Only https is taken")
    try:
        await plane.wall.addresses(checked_url(url).raw_host or "")
    except Refused as error:
        raise Invalid.at(field, str(error)) from error
    except Failed:
        return
