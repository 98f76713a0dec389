"""The verbs that are emulated: one module each, with its grammar and its handler."""

from collections.abc import Mapping

from turncall_phone.twiml.leg import Verb
from turncall_phone.twiml.verbs import connect, dial, gather, hangup, pause, play, redirect, reject, say

VERBS: Mapping[str, Verb] = {
    "Connect": connect.VERB,
    "Dial": dial.VERB,
    "Gather": gather.VERB,
    "Hangup": hangup.VERB,
    "Pause": pause.VERB,
    "Play": play.VERB,
    "Redirect": redirect.VERB,
    "Reject": reject.VERB,
    "Say": say.VERB,
}
