"""The contract between the two planes: ids, agent definitions, call states, events, commands, subjects."""
