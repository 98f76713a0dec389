"""The carrier emulator: Twilio's REST, TwiML, webhooks and Media Streams as a local peer."""

from turncall_phone.accounts import Account as Account
from turncall_phone.accounts import Number as Number
from turncall_phone.caller import Answers as Answers
from turncall_phone.caller import Busy as Busy
from turncall_phone.caller import HangUp as HangUp
from turncall_phone.caller import Interrupt as Interrupt
from turncall_phone.caller import NeverAnswers as NeverAnswers
from turncall_phone.caller import Pause as Pause
from turncall_phone.caller import Press as Press
from turncall_phone.caller import Say as Say
from turncall_phone.caller import Unreachable as Unreachable
from turncall_phone.caller import WaitForAgent as WaitForAgent
from turncall_phone.caller import WaitForHangUp as WaitForHangUp
from turncall_phone.caller import WaitForSilence as WaitForSilence
from turncall_phone.calls import Call as Call
from turncall_phone.calls import CallOver as CallOver
from turncall_phone.calls import CallStatus as CallStatus
from turncall_phone.carrier import Carrier as Carrier
from turncall_phone.switchboard import NotOurNumber as NotOurNumber
