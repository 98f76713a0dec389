"""A WhatsApp of one process: the Graph API for messages, and webhooks signed and delivered as Meta does."""

from turncall_phone.meta.messages import App as App
from turncall_phone.meta.messages import BusinessPhone as BusinessPhone
from turncall_phone.meta.platform import Meta as Meta
