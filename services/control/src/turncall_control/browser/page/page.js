// The page around turncall.js. Its token stands behind the # of its address, which no server is told.
"use strict";

const SAYS = {
  idle: "Ready.",
  connecting: "Connecting …",
  live: "You are connected.",
  renewing: "One moment, the connection is being made again …",
  over: "The call is over.",
};
const by = (id) => document.getElementById(id);
const call = new TurnCall({ token: location.hash.slice(1) });
let isMuted = false;
let partial = null;

call.addEventListener("state", ({ detail: state }) => {
  by("state").textContent = SAYS[state];
  by("call").textContent = state === "idle" || state === "over" ? "Call" : "Hang up";
  by("call").disabled = state === "over";
  by("mute").hidden = by("write").hidden = state !== "live";
});
call.addEventListener("transcript", ({ detail: { speaker, text, isFinal } }) => {
  const line = speaker === "caller" && partial ? partial : document.createElement("li");
  line.className = isFinal ? speaker : `${speaker} partial`;
  line.textContent = text;
  by("transcript").append(line);
  if (speaker === "caller") partial = isFinal ? null : line;
});
by("call").onclick = () => {
  if (call.state === "idle") {
    call.start().catch((error) => (by("state").textContent = `The call could not be made: ${error.message}`));
  } else {
    call.hangUp();
  }
};
by("mute").onclick = () => {
  call.mute((isMuted = !isMuted));
  by("mute").textContent = isMuted ? "Unmute" : "Mute";
};
by("write").onsubmit = (event) => {
  event.preventDefault();
  call.write(by("text").value);
  by("text").value = "";
};
if (!location.hash) {
  by("state").textContent = "This page needs a token behind the # of its address.";
  by("call").disabled = true;
}
