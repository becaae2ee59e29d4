import asyncio
import random
import uuid
from datetime import UTC, datetime

from bifrost import IntegrationError, ValidationError, activity, param, workflow


@activity
def shout(word: str) -> str:
    return word.upper()


@workflow(name="calls", retry_policy={"max_attempts": 5, "backoff_seconds": 0.01})
@param("count", "int", default_value=3)
async def calls(context, count: int):
    tool = context.get_integration("tool")
    context.log("info", "begun", {"at": datetime.now(UTC).isoformat()})
    context.save_checkpoint("begun", {"count": count})
    said = await asyncio.gather(*(tool.say(number) for number in range(count)))
    context.save_checkpoint("said")
    tries = await tool.answer_at_last()
    try:
        await tool.refuse()
    except IntegrationError as error:
        refused = error.status_code
    secret = await context.get_secret("tool_key")
    context.save_checkpoint("said")
    return {"said": said, "tries": tries, "refused": refused, "secret": await tool.say([secret]) is not None, "shout": await shout("loud")}


@workflow(name="chance")
async def chance(context):
    drawn = [random.random(), str(uuid.uuid4()), list({"a", "b", "c", "d"})]
    context.save_checkpoint(f"drawn {drawn[1]}")
    await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.01, n)) for n in range(3)])
    return [*drawn, len(done)]


@workflow(name="waits")
async def waits(context):
    context.save_checkpoint("asked")
    answer = await context.wait_for_event("approved", timeout=3600)
    try:
        await context.wait_for_event("never", timeout=0.01)
    except TimeoutError:
        context.log("warning", "nobody came")
    return answer


@workflow(name="parent")
async def parent(context):
    return await context.execute_workflow("chance")


@workflow(name="fails")
async def fails(context, item: str):
    context.save_checkpoint("looked")
    raise ValidationError("No such item", field="item", item=item)


@workflow(name="late", timeout_seconds=0.2)
async def late(context):
    await asyncio.sleep(3600)


@workflow(name="cancelled")
async def cancelled(context):
    context.save_checkpoint("waiting")
    try:
        await asyncio.sleep(3600)
    finally:
        await context.get_integration("tool").say("cleaned")


@workflow(name="open")
async def open_(context):
    context.save_checkpoint("waiting")
    await context.wait_for_event("go")
