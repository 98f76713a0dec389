"""Answers of the Graph API that are errors."""

from turncall_phone.meta.messages import Json


class Refusal(Exception):
    """An answer that is an error, by Meta's code."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def body(self) -> Json:
        """The JSON that Meta sends."""
        return {"error": {"message": str(self), "type": "OAuthException", "code": self.code, "fbtrace_id": "A"}}
