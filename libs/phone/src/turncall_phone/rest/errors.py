"""Errors of the REST face, each with the vendor's code."""


class RestError(Exception):
    """An answer that is no resource; `status` is HTTP's, `code` the vendor's."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, object]:
        """The JSON that the vendor sends."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


def not_found(path: str) -> RestError:
    """404, 20404."""
    return RestError(404, 20404, f"The requested resource {path} was not found")


def unauthorized() -> RestError:
    """401, 20003."""
    return RestError(401, 20003, "Authenticate")


def invalid(message: str, code: int = 20001) -> RestError:
    """400, for a parameter."""
    return RestError(400, code, message)


_REFUSALS = {
    10004: (429, "Call concurrency limit exceeded"),
    20005: (403, "Account not active"),
    13227: (400, "Geo Permission configuration is not permitting call"),
    21210: (400, "The source phone number provided is not yet verified for your account."),
    21211: (400, "The 'To' number {to} is not a valid phone number."),
    21214: (400, "'To' phone number cannot be reached"),
    21215: (400, "Account not authorized to call {to}. Perhaps you need to enable some international permissions."),
    21216: (400, "Account not allowed to call {to}"),
    21217: (400, "Phone number {to} does not appear to be valid"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}"),
    21606: (400, "The 'From' phone number provided is not a valid message-capable number for this destination."),
    21608: (400, "The number {to} is unverified. Trial accounts cannot send messages to unverified numbers"),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21612: (400, "'To' phone number cannot be reached via SMS: {to}"),
    21614: (400, "'To' number is not a valid mobile number: {to}"),
    21219: (400, "The number {to} is unverified. Trial accounts may only make calls to verified numbers."),
}


def refused(code: int, to: str) -> RestError:
    """The vendor's refusal to call `to`, or to write to it, by its code."""
    status, message = _REFUSALS[code]
    return RestError(status, code, message.format(to=to))


def suspended() -> RestError:
    """403, 20005: the account may do nothing."""
    return RestError(403, 20005, "Account not active")
