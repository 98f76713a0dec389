"""A credential as the API takes and shows it: secrets go in and never come out."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_proto.headers import require_free
from turncall_proto.ids import CredentialId

SecretText = Annotated[str, Meta(min_length=8, max_length=1024, pattern=r"^[\x21-\x7e]+$(?!\n)")]
"""Visible ASCII, as it goes into a header. Elsewhere than in JSON Schema a `$` also stands before a last line feed."""
HeaderText = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=1024,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$(?!\n)",
        examples=["Bearer a-token-of-the-server"],
    ),
]
BaseUrl = Annotated[str, Meta(max_length=2048, pattern=r"^https?://\S+$(?!\n)")]


class VendorKeyNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="vendor"):
    """The project's key at a model vendor; it may also be that of another server which speaks the vendor's protocol."""

    vendor: Annotated[str, Meta(min_length=1, max_length=64, description="A vendor of the catalogue that takes a key.")]
    key: SecretText


class TwilioAccountNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="twilio"):
    """The project's Twilio account: its numbers are bound in it, its webhooks are signed by it."""

    account_sid: Annotated[str, Meta(pattern=r"^AC[0-9a-f]{32}$(?!\n)")]
    auth_token: SecretText
    secondary_auth_token: Annotated[
        SecretText | None, Meta(description="Accepted as well: for the time in which the account's tokens rotate.")
    ] = None


class BucketNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="s3"):
    """The project's own bucket behind the S3 API: recordings are moved there once their call is over."""

    bucket: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$(?!\n)", description="Its name.", examples=["my-recordings"]),
    ]
    access_key: SecretText
    secret_key: SecretText
    endpoint: Annotated[BaseUrl | None, Meta(description="The server that has it; left out for AWS.")] = None
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$(?!\n)")] = "us-east-1"


class ServerHeadersNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="server"):
    """Headers, such as a token, that a server of the project's wants to see.

    Webhook tools and MCP servers of its agents send them to that host, and to no other.
    """

    host: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?$(?!\n)",
            examples=["crm.example.com"],
            description="As in the URLs. Alone it is for https; http has its port too: crm.example.com:80.",
        ),
    ]
    headers: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=128)], HeaderText],
        Meta(
            min_length=1,
            max_length=5,
            examples=[{"Authorization": "Bearer a-token-of-the-server"}],
            description="By their names; none that every request has anyway.",
        ),
    ]

    def __post_init__(self) -> None:
        require_free(self.headers)


class WhatsAppSenderNew(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="whatsapp"
):
    """A number of the project's WhatsApp business account. Its app's webhooks go to
    `/webhooks/whatsapp/{project_id}` of this installation, for the field `messages`."""

    phone_number_id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{4,32}$(?!\n)", description="The id, not the number itself.", examples=["106540352242922"]
        ),
    ]
    access_token: SecretText
    app_secret: Annotated[SecretText, Meta(description="Signs the app's webhooks.")]
    secondary_app_secret: Annotated[
        SecretText | None, Meta(description="Accepted as well: for the time in which the app's secret rotates.")
    ] = None
    verify_token: Annotated[SecretText, Meta(description="What you enter beside the webhook's address at Meta.")]


CredentialNew = VendorKeyNew | TwilioAccountNew | BucketNew | ServerHeadersNew | WhatsAppSenderNew


class CredentialView(Struct, frozen=True, kw_only=True):
    """A credential without its secret."""

    id: CredentialId
    kind: Literal["vendor", "twilio", "s3", "server", "whatsapp"]
    name: Annotated[
        str,
        Meta(description="The vendor, the SID of the Twilio account, the bucket, the host, the WhatsApp number's id."),
    ]
    hint: Annotated[
        str,
        Meta(
            description="The last four characters of the secret, none of a short one; of a server its headers' names."
        ),
    ]
    created_at: Moment
    updated_at: Moment
    last_used_at: Annotated[Moment | None, Meta(description="By a call or a carrier's webhook, to ten seconds.")]


class VerificationAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a credential is to be tried."""

    base_url: Annotated[
        BaseUrl | None,
        Meta(description="The server to ask in place of the vendor's own, written as in an agent's options."),
    ] = None


class Verification(Struct, frozen=True, kw_only=True):
    """What came of trying a credential."""

    outcome: Annotated[
        Literal["accepted", "refused", "unreachable", "unverifiable"],
        Meta(description="`unverifiable`: the vendor has no request that would tell without doing anything."),
    ]
    detail: str
