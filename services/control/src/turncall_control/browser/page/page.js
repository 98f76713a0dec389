// The page around turncall.js. Its token stands behind the # of its address, which no server is told.
"use strict";

const SAYS = {
  idle: "Ready.",
  connecting: "Connecting …",
  live: "You are connected.",
  renewing: "One moment, the connection is being made again …",
  over: "The call is over.",
};
const TROUBLE = {
  "microphone-refused": "The microphone is blocked. Allow it for this page, beside its address, and call again.",
  "no-microphone": "No microphone was found. Plug one in and call again.",
  "microphone-busy": "Another program is using the microphone. Close it and call again.",
  "not-secure": "Browsers open the microphone to secure pages only: this one needs an https address.",
  busy: "All lines are busy. Ask for a new link in a moment.",
  "not-allowed": "This link does not work any more. Ask for a new one.",
  unreachable: "The server cannot be reached. Look at your network.",
  "no-path": "Your network lets no sound through. Try another one.",
  lost: "The connection was lost.",
};
const by = (id) => document.getElementById(id);
const call = new TurnCall({ token: location.hash.slice(1) });
const open = {}; // the line that each speaker is saying
let isMuted = false;

function complain({ reason, message } = {}) {
  by("trouble").hidden = !reason;
  by("trouble").textContent = reason ? TROUBLE[reason] || `The call could not be made: ${message}` : "";
}

call.addEventListener("state", ({ detail: state }) => {
  document.querySelector("main").dataset.state = state;
  by("state").textContent = SAYS[state];
  by("call").textContent = state === "idle" || state === "over" ? "Call" : "Hang up";
  by("call").disabled = state === "over";
  by("mute").hidden = by("write").hidden = state !== "live" && state !== "renewing";
  by("text").disabled = state !== "live";
});
call.addEventListener("trouble", ({ detail }) => complain(detail));
call.addEventListener("speaking", ({ detail: { speaker, isSpeaking } }) => {
  if (speaker === "agent") document.querySelector("main").classList.toggle("speaks", isSpeaking);
});
call.addEventListener("transcript", ({ detail: { speaker, text, isFinal } }) => {
  const list = by("transcript");
  const line = open[speaker] || document.createElement("li");
  line.className = isFinal ? speaker : `${speaker} partial`;
  line.setAttribute("aria-live", isFinal ? "polite" : "off"); // a line is read out once
  line.dataset.speaker = speaker === "agent" ? "Agent" : "You";
  line.textContent = text;
  open[speaker] = isFinal ? null : line;
  list.hidden = false;
  if (!line.isConnected) list.append(line);
  list.scrollTop = list.scrollHeight;
});
call.addEventListener("face", ({ detail: stream }) => {
  by("face").srcObject = stream;
  by("face").hidden = !stream;
});
by("call").onclick = () => {
  if (call.state === "idle") {
    complain();
    call.start().catch(complain);
  } else {
    call.hangUp();
  }
};
by("mute").onclick = () => {
  call.mute((isMuted = !isMuted));
  by("mute").setAttribute("aria-pressed", isMuted);
};
by("write").onsubmit = (event) => {
  event.preventDefault();
  if (by("text").value.trim()) call.write(by("text").value);
  by("text").value = "";
};
if (!location.hash) {
  by("state").textContent = "This page needs a token behind the # of its address.";
  by("call").disabled = true;
}
