"""What a conversation leaves behind: facts, figures, a recording."""
