"""How many calls one worker of this machine bears."""
