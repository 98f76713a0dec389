"""A WhatsApp of one process: the Graph API for messages and calls, and webhooks signed and delivered as Meta does."""

from turncall_phone.meta.calls import MetaCall as MetaCall
from turncall_phone.meta.messages import App as App
from turncall_phone.meta.messages import BusinessPhone as BusinessPhone
from turncall_phone.meta.platform import Meta as Meta
