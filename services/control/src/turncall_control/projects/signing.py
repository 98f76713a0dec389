"""The secret that signs every request from a project's agents to the project's own servers."""

import hmac
from base64 import b64encode
from hashlib import sha256

from turncall_proto.ids import ProjectId
from turncall_runtime.secret import Secret


def signing_secret(pepper: Secret, project_id: ProjectId) -> Secret:
    """``whsec_…`` as Standard Webhooks writes it (32 bytes): derived, so it is stored nowhere and never changes."""
    key = hmac.digest(pepper.reveal().encode(), f"requests of {project_id}".encode(), sha256)
    return Secret("whsec_" + b64encode(key).decode())
