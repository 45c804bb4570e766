"""`python -m sandbox`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import secrets
import signal
import sys
from pathlib import Path

from sandbox.gateway import PRIVILEGED, Intent
from sandbox.server import Sandbox


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A small Discord on loopback.")
    parser.add_argument("--page-port", type=int, default=0, help="port of the page; 0 takes a free one")
    parser.add_argument("--discord-port", type=int, default=0, help="port for the bot; 0 takes a free one")
    parser.add_argument("--token", help="the one bot token it knows; a new one is made and printed if none is given")
    parser.add_argument("--data", type=Path, default=Path(".sandbox"), help="folder for the certificate (ca.pem)")
    parser.add_argument(
        "--intent",
        action="append",
        default=[],
        choices=[intent.name.lower() for intent in Intent if intent in PRIVILEGED and intent.name],
        help="switch a privileged intent on, as on Discord's developer page; may be given several times",
    )
    return parser.parse_args(given)


async def serve(options: argparse.Namespace) -> None:
    """Run the sandbox until a signal asks it to stop; says READY once both listeners are open."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    privileged = Intent(sum(Intent[name.upper()] for name in options.intent))
    async with Sandbox(
        token=options.token or secrets.token_hex(16),
        data_dir=options.data,
        page_port=options.page_port,
        discord_port=options.discord_port,
        privileged=privileged,
    ) as sandbox:
        ready = {
            "process": "sandbox",
            "page": sandbox.page_url,
            "token": sandbox.token,
            "discord": sandbox.discord_url,
            "ca": str(sandbox.ca_path.resolve()),
        }
        print("READY " + json.dumps(ready), flush=True)
        await stop.wait()


def main() -> int:
    """Serve; 2 means that it could not start, and one sentence on stderr says why."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = arguments()
    try:
        asyncio.run(serve(options))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            print(f"The sandbox could not start: {error.strerror or error}.", file=sys.stderr)
        else:
            sentence = "A port of the sandbox is in use: choose others with --page-port and --discord-port."
            print(sentence, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
