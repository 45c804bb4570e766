"""/persona-chat: one question to a persona; the answer comes back through the relay."""

from __future__ import annotations

from discord import app_commands
from discord.app_commands import Range

from bot import choices, talk
from bot.door import Ask
from bot.errors import NothingSaid
from bot.members import TO_TALK, origin_of, require_channel
from tasks.jobs import Queue, new_job
from training.schema import ChatSpec, Message

LONGEST_MESSAGE = 1500


@app_commands.command(name="persona-chat", description="Say something to a persona; it answers in this channel.")
@app_commands.guild_only()
@app_commands.describe(persona="Who is to answer.", message="What you say.")
@app_commands.autocomplete(persona=choices.personas)
async def persona_chat(interaction: Ask, persona: str, message: Range[str, 1, LONGEST_MESSAGE]) -> None:
    """Show the question to the channel once the queue has it for sure."""
    origin = origin_of(interaction)
    require_channel(interaction, TO_TALK)
    text = message.strip()
    if not text:
        raise NothingSaid
    await interaction.response.defer()
    queue = interaction.client.queue
    catalog = await queue.catalog(origin.guild_id)
    slug = choices.known_persona(catalog, persona)
    # A job may wait for its worker for days; whoever says something wants an answer now.
    await queue.require_worker(Queue.CHAT)
    spec = ChatSpec(guild_id=origin.guild_id, persona=slug, messages=(Message(role="user", content=text),))
    await queue.submit(new_job("chat", spec, origin))
    asked = talk.question(interaction.user.display_name, catalog.personas[slug], text)
    await interaction.edit_original_response(content=asked)
