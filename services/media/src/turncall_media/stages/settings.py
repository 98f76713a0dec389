"""What Pipecat wants to know of a model that is told everything elsewhere."""

from pipecat.services.settings import LLMSettings


def name_alone(model: str) -> LLMSettings:
    """Settings of a model that has none but its name; what is left unset, Pipecat reports as forgotten."""
    return LLMSettings(
        model=model,
        system_instruction=None,
        temperature=None,
        max_tokens=None,
        top_p=None,
        top_k=None,
        frequency_penalty=None,
        presence_penalty=None,
        seed=None,
        filter_incomplete_user_turns=False,
        user_turn_completion_config=None,
    )
