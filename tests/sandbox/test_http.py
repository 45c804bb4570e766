"""The HTTP API by plain calls: tokens, permissions, codes, rate limits, nonces, history, webhooks and files."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from sandbox import limits
from sandbox.gateway import Intent
from sandbox.people import BOT_ID, GUILD_ID, Overwrite, Permission
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.app import connector
from tests.sandbox.conftest import Answer, Call

WORKSHOP = "1200000000000000020"
MARA = "1200000000000000001"
MESSAGES = f"/channels/{WORKSHOP}/messages"
WEBHOOKS = f"/channels/{WORKSHOP}/webhooks"
NOWHERE = "1200000000000000777"


def deny(sandbox: Sandbox, permission: Permission) -> None:
    sandbox.world.set_overwrite("workshop", BOT_ID, Overwrite(deny=permission))


async def sent(call: Call, content: str = "hello", **more: object) -> dict[str, object]:
    answer = await call("POST", MESSAGES, {"content": content, **more})
    assert answer.status == 200, answer.body
    return dict(answer.body)


async def test_a_wrong_token_is_unauthorized_everywhere(call: Call) -> None:
    for method, path in (("GET", "/users/@me"), ("POST", MESSAGES), ("GET", "/gateway/bot")):
        answer = await call(method, path, token="wrong")
        assert (answer.status, answer.body) == (401, {"message": "401: Unauthorized", "code": 0})
    assert (await call("GET", "/users/@me")).body["id"] == BOT_ID


async def test_answers_are_exactly_json_with_rate_limit_headers(call: Call) -> None:
    answer = await call("GET", "/users/@me")
    assert answer.headers["Content-Type"] == "application/json"
    for name in ("Limit", "Remaining", "Reset", "Reset-After", "Bucket"):
        assert f"X-RateLimit-{name}" in answer.headers


async def test_what_is_not_built_is_discords_404_and_is_recorded(call: Call, sandbox: Sandbox) -> None:
    for path in (f"/channels/{WORKSHOP}/invites", "/voice/regions"):
        answer = await call("POST", path, {})
        assert (answer.status, answer.body) == (404, {"message": "404: Not Found", "code": 0})
    assert [request.template for request in sandbox.requests] == ["", ""]
    assert (await call("POST", MESSAGES, {"poll": {"question": {"text": "?"}}})).status == 404


UNKNOWN = [
    ("GET", f"/channels/{NOWHERE}", 10003),
    ("POST", f"/channels/{NOWHERE}/messages", 10003),
    ("GET", f"{MESSAGES}/{NOWHERE}", 10008),
    ("PATCH", f"{MESSAGES}/{NOWHERE}", 10008),
    ("DELETE", f"{MESSAGES}/{NOWHERE}", 10008),
    ("GET", f"/guilds/{NOWHERE}", 10004),
    ("GET", f"/guilds/{GUILD_ID}/members/{NOWHERE}", 10007),
    ("GET", f"/webhooks/{NOWHERE}", 10015),
    ("POST", f"/webhooks/{NOWHERE}/token", 10015),
    ("POST", f"/interactions/{NOWHERE}/token/callback", 10062),
]


@pytest.mark.parametrize(("method", "path", "code"), UNKNOWN)
async def test_unknown_things_have_their_codes(call: Call, method: str, path: str, code: int) -> None:
    answer = await call(method, path, {"content": "x", "type": 4})
    assert (answer.status, answer.code) == (404, code)


async def test_a_body_that_is_no_json_or_no_object_is_refused(call: Call) -> None:
    assert (await call("POST", MESSAGES, b"{")).code == 50109
    assert (await call("POST", MESSAGES, ["content"])).code == 50035
    assert (await call("POST", MESSAGES, {})).code == 50006


FORBIDDEN = [
    (Permission.SEND_MESSAGES, "POST", MESSAGES, {"content": "x"}, 50013),
    (Permission.EMBED_LINKS, "POST", MESSAGES, {"embeds": [{"title": "t"}]}, 50013),
    (Permission.VIEW_CHANNEL, "POST", MESSAGES, {"content": "x"}, 50001),
    (Permission.VIEW_CHANNEL, "GET", f"/channels/{WORKSHOP}", None, 50001),
    (Permission.SEND_MESSAGES, "POST", f"/channels/{WORKSHOP}/typing", None, 50013),
    (Permission.MANAGE_WEBHOOKS, "POST", WEBHOOKS, {"name": "Elio"}, 50013),
    (Permission.MANAGE_WEBHOOKS, "GET", WEBHOOKS, None, 50013),
]


@pytest.mark.parametrize("case", FORBIDDEN, ids=lambda case: f"{case[0].name} {case[1]}")
async def test_a_missing_permission_is_forbidden(
    call: Call, sandbox: Sandbox, case: tuple[Permission, str, str, object, int]
) -> None:
    permission, method, path, body, code = case
    deny(sandbox, permission)
    answer = await call(method, path, body)
    assert (answer.status, answer.code) == (403, code)


async def test_only_own_messages_are_edited_and_deleting_others_needs_a_permission(
    call: Call, sandbox: Sandbox, mara: Visitor
) -> None:
    theirs = await mara.say("workshop", "mine")
    path = f"{MESSAGES}/{theirs['id']}"
    assert (await call("PATCH", path, {"content": "x"})).code == 50005
    deny(sandbox, Permission.MANAGE_MESSAGES)
    assert (await call("DELETE", path)).code == 50013
    deny(sandbox, Permission(0))
    assert (await call("DELETE", path)).status == 204
    await mara.until_true(lambda: not mara.messages())


async def test_an_edit_shows_on_the_page(call: Call, mara: Visitor) -> None:
    message = await sent(call)
    assert (await call("PATCH", f"{MESSAGES}/{message['id']}", {"content": "changed"})).body["edited_timestamp"]
    assert await mara.until(lambda m: m["content"] == "changed" and m["id"] == message["id"])


async def test_the_same_nonce_sends_once_for_five_minutes(call: Call, sandbox: Sandbox) -> None:
    first = await sent(call, nonce="job-1", enforce_nonce=True)
    again = await sent(call, "other words", nonce="job-1", enforce_nonce=True)
    assert again["id"] == first["id"]
    assert again["content"] == "hello"
    assert (await sent(call, nonce="job-1"))["id"] != first["id"]
    sandbox.clock.advance(limits.NONCE_REMEMBERED_S + 1)
    assert (await sent(call, nonce="job-1", enforce_nonce=True))["id"] != first["id"]
    assert (await call("POST", MESSAGES, {"content": "x", "nonce": "n" * 26})).code == 50035


async def test_only_allowed_mentions_are_mentions(call: Call, sandbox: Sandbox) -> None:
    said = f"<@{MARA}> @everyone"
    quiet = await sent(call, said, allowed_mentions={"parse": []})
    assert (quiet["mentions"], quiet["mention_everyone"]) == ([], False)
    loud = await sent(call, said, allowed_mentions={"users": [MARA]})
    assert [user["username"] for user in loud["mentions"]] == ["mara"]  # type: ignore[attr-defined]
    assert (await sent(call, said))["mention_everyone"] is False, "the bot lacks the permission"
    sandbox.world.set_overwrite("workshop", BOT_ID, Overwrite(allow=Permission.MENTION_EVERYONE))
    assert (await sent(call, said))["mention_everyone"] is True


async def test_a_reply_refers_to_a_message_that_exists(call: Call) -> None:
    first = await sent(call)
    reply = await sent(call, "and", message_reference={"message_id": first["id"]})
    assert reply["referenced_message"]["id"] == first["id"]  # type: ignore[index]
    assert (await call("DELETE", f"{MESSAGES}/{first['id']}")).status == 204
    assert (await call("GET", f"{MESSAGES}/{reply['id']}")).body["referenced_message"] is None
    lost = {"message_id": NOWHERE}
    assert (await call("POST", MESSAGES, {"content": "x", "message_reference": lost})).code == 50035
    assert "message_reference" not in await sent(call, message_reference={**lost, "fail_if_not_exists": False})


async def test_history_pages_newest_first(call: Call, sandbox: Sandbox) -> None:
    channel = sandbox.world.channel(WORKSHOP)
    ids = [sandbox.world.say(channel, sandbox.world.guild.members[MARA].user, str(n)).id for n in range(6)]

    async def page(query: str) -> list[int]:
        answer = await call("GET", f"{MESSAGES}?{query}")
        return [ids.index(message["id"]) for message in answer.body]

    assert await page("limit=2") == [5, 4]
    assert await page(f"before={ids[4]}&limit=2") == [3, 2]
    assert await page(f"after={ids[1]}&limit=2") == [3, 2]
    assert await page(f"around={ids[3]}&limit=3") == [4, 3, 2]
    for query in ("limit=0", "limit=101", "limit=x", "before=x"):
        assert (await call("GET", f"{MESSAGES}?{query}")).code == 50035
    deny(sandbox, Permission.READ_MESSAGE_HISTORY)
    assert await page("limit=2") == []


async def test_others_words_need_the_message_content_intent(call: Call, sandbox: Sandbox, mara: Visitor) -> None:
    secret = await mara.say("workshop", "between us")
    to_bot = await mara.say("workshop", f"hello <@{BOT_ID}>")
    assert (await call("GET", f"{MESSAGES}/{secret['id']}")).body["content"] == ""
    assert (await call("GET", f"{MESSAGES}/{to_bot['id']}")).body["content"] == to_bot["content"]
    assert (await call("GET", f"/guilds/{GUILD_ID}/members?limit=10")).code == 50001


async def test_the_members_list_comes_with_its_intent(tmp_path: object) -> None:
    async with Sandbox(data_dir=tmp_path, privileged=Intent.GUILD_MEMBERS) as sandbox:  # type: ignore[arg-type]
        url = f"https://discord.com/api/v10/guilds/{GUILD_ID}/members?limit=100"
        headers = {"Authorization": f"Bot {sandbox.token}"}
        async with (
            aiohttp.ClientSession(connector=connector(sandbox.discord_url, sandbox.ca_path)) as session,
            session.get(url, headers=headers) as response,
        ):
            assert len(await response.json()) == 8


async def test_reactions_take_emoji_only(call: Call, sandbox: Sandbox, mara: Visitor) -> None:
    message = await sent(call)
    path = f"{MESSAGES}/{message['id']}/reactions"
    assert (await call("PUT", f"{path}/ok/@me")).code == 10014
    assert (await call("PUT", f"{path}/👍/@me")).status == 429, "one reaction in a quarter of a second"
    sandbox.clock.advance(0.25)
    assert (await call("PUT", f"{path}/👍/@me")).status == 204
    await mara.react(message, "👍")
    shown = await mara.until(lambda m: m.get("reactions", [{}])[0].get("count") == 2)
    assert shown["reactions"][0]["me"] is True
    assert (await call("DELETE", f"{path}/👍/@me")).status == 204
    assert await mara.until(lambda m: m.get("reactions", [{}])[0].get("count") == 1)


async def test_six_messages_in_five_seconds_are_one_too_many(call: Call, sandbox: Sandbox) -> None:
    answers = [await call("POST", MESSAGES, {"content": str(n)}) for n in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [4, 3, 2, 1, 0, 0]
    refused = answers[-1]
    assert 0 < refused.body["retry_after"] <= 5
    assert refused.body["global"] is False
    assert refused.headers["Via"]
    other = await call("POST", f"/channels/{WORKSHOP[:-1]}1/messages", {"content": "x"})
    assert other.status == 200, "another channel has a bucket of its own"
    sandbox.clock.advance(5)
    assert (await call("POST", MESSAGES, {"content": "x"})).status == 200


async def test_fifty_requests_a_second_is_the_most_and_interactions_do_not_count(call: Call, sandbox: Sandbox) -> None:
    answers: list[Answer] = [await call("GET", f"/channels/{1000 + n}") for n in range(51)]
    assert answers[49].status == 404
    assert answers[50].status == 429
    assert answers[50].body["global"] is True
    assert answers[50].headers["X-RateLimit-Global"] == "true"
    assert (await call("POST", "/interactions/1/t/callback", {"type": 4})).code == 10062
    sandbox.clock.advance(1)
    assert (await call("GET", "/users/@me")).status == 200


async def test_files_over_the_limits_are_too_large(call: Call) -> None:
    fine = await call("POST", MESSAGES, {}, files={"adapter.bin": b"x" * 1000})
    assert fine.body["attachments"][0]["size"] == 1000
    big = await call("POST", MESSAGES, {}, files={"a.bin": b"x" * (limits.FILE_BYTES + 1)})
    assert (big.status, big.code) == (413, 40005)
    many = await call("POST", MESSAGES, {}, files={f"{n}.bin": b"x" * (9 * 1024 * 1024) for n in range(3)})
    assert (many.status, many.code) == (413, 40005)


async def test_a_picture_in_an_embed_is_no_longer_an_attachment(call: Call, sandbox: Sandbox, mara: Visitor) -> None:
    body = {"embeds": [{"title": "Loss", "image": {"url": "attachment://loss.png"}}]}
    message = (await call("POST", MESSAGES, body, files={"loss.png": b"png", "report.json": b"{}"})).body
    assert [attachment["filename"] for attachment in message["attachments"]] == ["report.json"]
    url = message["embeds"][0]["image"]["url"]
    assert url.startswith("https://cdn.discordapp.com/attachments/")
    async with aiohttp.ClientSession(connector=connector(sandbox.discord_url, sandbox.ca_path)) as session:
        async with session.get(url) as response:
            assert await response.read() == b"png"
        async with session.get("https://cdn.discordapp.com/api/v10/users/@me") as response:
            assert response.status == 404, "each of Discord's hosts has its own paths only"
    shown = await mara.until(lambda m: m["id"] == message["id"])
    assert await mara.download(shown["embeds"][0]["image"]["url"]) == b"png"
    # Sending the resolved address back makes the file an attachment again, as it does on Discord.
    edited = (await call("PATCH", f"{MESSAGES}/{message['id']}", {"embeds": message["embeds"]})).body
    assert len(edited["attachments"]) == 2


@pytest.mark.parametrize("name", ["", "x" * 81, "Clyde", "my discord bot"])
async def test_webhook_names_that_discord_keeps_for_itself(call: Call, name: str) -> None:
    assert (await call("POST", WEBHOOKS, {"name": name})).code == 50035
    webhook = (await call("POST", WEBHOOKS, {"name": "Elio"})).body
    path = f"/webhooks/{webhook['id']}/{webhook['token']}"
    assert (await call("POST", path, {"content": "x", "username": name})).code == 50035


async def test_a_webhook_speaks_in_its_name_and_owns_its_messages(call: Call, mara: Visitor) -> None:
    webhook = (await call("POST", WEBHOOKS, {"name": "Elio"})).body
    path = f"/webhooks/{webhook['id']}/{webhook['token']}"
    assert (await call("POST", path, {"content": "hidden"})).status == 204
    spoken = (await call("POST", f"{path}?wait=1", {"content": "I am here", "username": "Elio Solis"})).body
    assert spoken["author"] == {
        **spoken["author"],
        "id": webhook["id"],
        "username": "Elio Solis",
        "discriminator": "0000",
        "bot": True,
    }
    assert spoken["webhook_id"] == webhook["id"]
    assert await mara.until(lambda m: m["author"]["username"] == "Elio Solis")
    own = await sent(call)
    assert (await call("GET", f"{path}/messages/{own['id']}")).code == 10008
    assert (await call("PATCH", f"{path}/messages/{spoken['id']}", {"content": "moved"})).body["content"] == "moved"
    assert (await call("PATCH", f"{MESSAGES}/{spoken['id']}", {"content": "x"})).code == 50005
    assert (await call("DELETE", f"{path}/messages/{spoken['id']}")).status == 204
    assert (await call("POST", f"/webhooks/{webhook['id']}/wrong", {"content": "x"})).code == 50027
    assert (await call("POST", f"{path}?thread_id={own['id']}", {"content": "x"})).code == 10003
    assert [hook["name"] for hook in (await call("GET", WEBHOOKS)).body] == ["Elio"]
    assert (await call("DELETE", f"/webhooks/{webhook['id']}")).status == 204
    assert (await call("POST", path, {"content": "x"})).code == 10015


async def test_a_channel_has_fifteen_webhooks(call: Call) -> None:
    answers = [await call("POST", WEBHOOKS, {"name": f"w{n}"}) for n in range(16)]
    assert answers[14].status == 200
    assert answers[15].code == 30007


async def test_commands_of_another_app_or_guild_are_out_of_reach(call: Call) -> None:
    assert (await call("PUT", f"/applications/{NOWHERE}/commands", [])).code == 20012
    assert (await call("PUT", f"/applications/{BOT_ID}/guilds/{NOWHERE}/commands", [])).code == 50001
    command = {"name": "lab", "description": "Try things"}
    made = (await call("PUT", f"/applications/{BOT_ID}/commands", [command])).body
    assert (await call("GET", f"/applications/{BOT_ID}/commands")).body == made


async def test_the_certificate_is_not_for_anybody_else(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{sandbox.discord_url}/api/v10/gateway")
    context = ssl.create_default_context(cafile=str(sandbox.ca_path))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(f"{sandbox.discord_url}/api/v10/gateway", headers={"Host": "evil.test"}) as response,
    ):
        assert response.status == 404
