"""`bifrost codec`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import structlog
import uvicorn

from bifrost.cli import parts
from bifrost.temporal.payloads import codec_server
from bifrost.temporal.payloads.encryption import Envelopes

_log = structlog.stdlib.get_logger("bifrost.codec")
PORT = 8234


@click.command()
@click.option("--tokens", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="A file: on each line a token, a space, and the organizations that it opens (acme,globex or *).")
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Where the Web UI comes from; may be given many times.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; put TLS in front of any other.")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
def codec(tokens: Path, origins: Sequence[str], host: str, port: int) -> None:
    r"""Serve decrypted payloads to Temporal's Web UI and command line.

    \b
    Example: bifrost codec --tokens codec.tokens --origin http://localhost:8233
             temporal workflow show -w ID --codec-endpoint http://127.0.0.1:8234 --codec-auth "Bearer TOKEN"
    """
    read = parts.settings()
    app = codec_server.app(Envelopes.from_settings(read), codec_server.read_tokens(tokens), origins=origins, payloads=read.payloads)
    _log.info("codec server ready", url=f"http://{host}:{port}", origins=list(origins))
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False)
