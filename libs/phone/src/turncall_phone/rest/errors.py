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
