"""What OpenAI's endpoints answer, plain and streamed → `Reply`. Others speak the same protocol.

Here is how a reply is read; `openai.py` says which request gets which, `openai_usage.py` what
its counts mean.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_cost.estimate import text_bytes
from llm_cost.providers.endpoint import at, count, text_or_none, told
from llm_cost.providers.openai_usage import (
    image_usage_of,
    milliseconds,
    speech_usage_of,
    told_cost_of,
    usage_of,
)
from llm_cost.request import Job, Reply
from llm_cost.streaming import Progress
from llm_cost.usage import Usage

# --- chat completions, legacy completions, embeddings ------------------------------------


def read_completion(reply: Any) -> Reply:
    """Read a completion, an embedding or whatever else has `model` and `usage`."""
    get = told(reply).get
    reasons = [told(choice).get("finish_reason") for choice in get("choices") or ()]
    return Reply(
        usage=usage_of(get("usage")),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=tuple(reason for reason in reasons if reason),
        service_tier=text_or_none(get("service_tier")),
        cost=told_cost_of(get("usage")),
    )


def read_chat_chunk(progress: Progress, chunk: Any) -> bool:
    """Take in one chunk of a completion; True for the one that only tells the usage."""
    # Nearly every chunk is one piece of text: read without a detour, and from the models'
    # dictionaries, since each attribute of a pydantic model is looked up in three places.
    try:
        fields = chunk.__dict__
        (choice,) = fields["choices"]
        of_choice = choice.__dict__
        content = of_choice["delta"].content
        if content and not of_choice["finish_reason"] and not fields["usage"] and progress.id:
            progress.output_bytes += len(content) if content.isascii() else text_bytes(content)
            return False
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # another server's, or not the usual piece
    return _read_rare_chunk(progress, chunk)


def _read_rare_chunk(progress: Progress, chunk: Any) -> bool:
    get = told(chunk).get
    if progress.id is None:
        progress.id = text_or_none(get("id"))
        progress.model = text_or_none(get("model")) or None
    choices = get("choices")
    for choice in choices or ():
        of_choice = told(choice).get
        delta = of_choice("delta")
        if delta is None:
            progress.add_text(of_choice("text"))
        else:
            _count_delta(progress, told(delta).get)
        if reason := of_choice("finish_reason"):
            progress.finish_reasons += (reason,)
    usage = get("usage")
    if usage is None:
        # Groq tells it on the last chunk also where nobody asked.
        usage = at(get("x_groq"), "usage")
        if usage is None:
            return False
    progress.usage, progress.cost = usage_of(usage), told_cost_of(usage)
    progress.is_complete = True
    progress.model = text_or_none(get("model")) or progress.model
    progress.service_tier = text_or_none(get("service_tier"))
    return not choices


def _count_delta(progress: Progress, get: Callable[[str], Any]) -> None:
    if content := get("content"):
        progress.add_text(content)
        return
    # What reasoning models of OpenAI-compatible servers think aloud is billed like the rest.
    progress.add_text(get("reasoning_content") or get("reasoning") or get("refusal"))
    for tool in get("tool_calls") or ():
        progress.add_text(at(tool, "function", "name"))
        progress.add_text(at(tool, "function", "arguments"))


# --- responses ---------------------------------------------------------------------------

_DONE: Final = frozenset(("completed", "incomplete", "failed", "cancelled"))
_IMAGE_MODEL: Final = "gpt-image-1"  # what the image tool uses where nobody says


def read_response(reply: Any) -> Reply:
    """Read a response. One in the background is a job: queued, at work, or done."""
    get = told(reply).get
    status = text_or_none(get("status"))
    job = _job(get, is_done=status in _DONE) if get("background") is True else None
    usage = _response_usage(get)
    if job is not None and status == "failed" and usage is None:
        usage = Usage()  # what failed before it told a use has none
    return Reply(
        usage=usage,
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=(status,) if status else (),
        service_tier=text_or_none(get("service_tier")),
        job=job,
        others=_drawn(get) if usage is not None and get("tool_usage") else (),
        cost=told_cost_of(get("usage")),
    )


def _job(get: Callable[[str], Any], *, is_done: bool) -> Job | None:
    name, began_at_s = text_or_none(get("id")), get("created_at")
    if name is None:
        return None
    return Job(name, int(began_at_s) if isinstance(began_at_s, int | float) else 0, is_done)


def _response_usage(get: Callable[[str], Any]) -> Usage | None:
    kinds = [told(item).get("type") for item in get("output") or ()]
    searches = at(get("tool_usage"), "web_search", "num_requests")
    return usage_of(
        get("usage"),
        web_searches=kinds.count("web_search_call") if searches is None else count(searches),
        file_searches=kinds.count("file_search_call"),
    )


def _drawn(get: Callable[[str], Any]) -> tuple[Reply, ...]:
    """Return what the image tool used: another model's tokens, outside of the response's own."""
    told_of_images = at(get("tool_usage"), "image_gen")
    usage = image_usage_of(told_of_images)
    if usage is None or not (usage.total_input_tokens or usage.total_output_tokens):
        return ()
    named = [
        at(tool, "model") for tool in get("tools") or () if at(tool, "type") == "image_generation"
    ]
    return (Reply(usage=usage, model=next(filter(None, named), _IMAGE_MODEL)),)


_ENDS: Final = frozenset(("response.completed", "response.incomplete", "response.failed"))


def read_response_event(progress: Progress, event: Any) -> bool:
    """Take in one event of a streamed response."""
    get = told(event).get
    kind = get("type") or ""
    if kind.endswith(".delta"):
        progress.add_text(get("delta"))
    elif kind in _ENDS:
        reply = read_response(get("response"))
        progress.usage, progress.is_complete = reply.usage, True
        progress.finish_reasons, progress.service_tier = reply.finish_reasons, reply.service_tier
        progress.model, progress.id = reply.model or progress.model, reply.id or progress.id
        progress.job, progress.others, progress.cost = reply.job, reply.others, reply.cost
    elif kind == "response.created":
        reply = read_response(get("response"))
        progress.model, progress.id, progress.job = reply.model, reply.id, reply.job
    return False


def conclude_response(progress: Progress) -> Reply:
    """Return what is known. A background response goes on when its stream is left."""
    reply = progress.reply()
    if reply.job is not None and not reply.job.is_done:
        return reply._replace(output_bytes=None)
    return reply


# --- images, sound and video -------------------------------------------------------------


def read_images(reply: Any) -> Reply:
    """Read images: tokens where the model is billed by them, else how many there are."""
    get = told(reply).get
    usage = image_usage_of(get("usage"))
    if usage is None:
        return Reply(usage=Usage(images=len(get("data") or ())))
    if (drawn := usage_of(get("svg_usage"))) is not None:
        usage = Usage(*(sum(pair) for pair in zip(usage, drawn, strict=True)))
    return Reply(usage=usage)


def read_image_event(progress: Progress, event: Any) -> bool:
    """Take in one event of a streamed image: the last of each image tells its usage."""
    usage = image_usage_of(told(event).get("usage"))
    if usage is not None:
        before = progress.usage or Usage()
        progress.usage = Usage(*(sum(pair) for pair in zip(before, usage, strict=True)))
        progress.is_complete = True
    return False


def read_sound(reply: Any) -> Reply:
    """Read a transcription: tokens or seconds, as the model is billed."""
    get = told(reply).get
    usage = usage_of(get("usage"))
    if usage is None and (spoken_ms := milliseconds(get("duration"))):
        usage = Usage(input_audio_ms=spoken_ms)
    return Reply(usage=usage)


def read_sound_event(progress: Progress, event: Any) -> bool:
    """Take in one event of a streamed transcription."""
    if (usage := told(event).get("usage")) is not None:
        progress.usage, progress.is_complete = usage_of(usage), True
    return False


def read_speech_event(progress: Progress, event: Any) -> bool:
    """Take in one event of streamed speech."""
    if (usage := told(event).get("usage")) is not None:
        progress.usage, progress.is_complete = speech_usage_of(usage), True
    return False


def count_speech(body: Mapping[str, Any]) -> Usage:
    """Return what is to be spoken, in characters: how models without token counts are billed."""
    return Usage(input_characters=len(str(body.get("input", ""))))


def read_video(reply: Any) -> Reply:
    """Read a video job: its length is its use. Size and model make the price."""
    get = told(reply).get
    made_ms = milliseconds(get("seconds"))
    return Reply(
        usage=Usage(output_video_ms=made_ms) if made_ms else None,
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
    )


# --- batches -----------------------------------------------------------------------------


def read_batch(reply: Any) -> Reply:
    """Read a batch: its usage, once it is over, at the batch price."""
    get = told(reply).get
    status = text_or_none(get("status"))
    return Reply(
        usage=usage_of(get("usage")),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=(status,) if status else (),
        service_tier="batch",
        job=_job(get, is_done=status in ("completed", "expired", "cancelled")),
    )
