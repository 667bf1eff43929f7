"""A node that answers badly is a node that can not be read now: nothing else comes out of the source."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from evm_wallet_client.evm import EvmSource
from evm_wallet_client.source import BlockGoneError, SourceUnavailableError

WORD = "0x" + "00" * 32
BLOCK = {"number": "0x5", "hash": WORD, "parentHash": WORD, "timestamp": "0x1", "transactions": []}


@asynccontextmanager
async def node(answers: dict[str, object], status: int = 200) -> AsyncGenerator[EvmSource]:
    """Run a node that knows these answers by method: a result, or the whole body as bytes."""

    async def answer(request: web.Request) -> web.Response:
        call = await request.json()
        found = answers[call["method"]]
        if isinstance(found, bytes):
            return web.Response(body=found, status=status)
        body = found if isinstance(found, dict) and "error" in found else {"result": found}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"]} | body, status=status)

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    source = EvmSource(f"http://127.0.0.1:{port}", tokens=("0x" + "11" * 20,), timeout=5)
    try:
        yield source
    finally:
        await source.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x5"}).encode(),
        [],
        7,
        {},
        BLOCK | {"hash": None},
        BLOCK | {"number": None},
        BLOCK | {"number": "five"},
        BLOCK | {"hash": "0xzz"},
        {"error": {"code": -32005, "message": "limit exceeded"}},
        {"error": "no"},
        {"error": None},
    ],
    ids=repr,
)
async def test_an_answer_that_makes_no_sense(answer: object) -> None:
    async with node({"eth_getBlockByNumber": answer}) as source:
        with pytest.raises(SourceUnavailableError):
            await source.head()


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_http_failure(status: int) -> None:
    async with node({"eth_getBlockByNumber": BLOCK}, status) as source:
        with pytest.raises(SourceUnavailableError):
            await source.head()


@pytest.mark.parametrize("message", ["header not found", "Unknown block"])
async def test_a_block_that_is_gone_in_words(message: str) -> None:
    answers: dict[str, object] = {
        "eth_getBlockByNumber": BLOCK | {"transactions": [{"hash": WORD, "value": "0x0"}]},
        "eth_getBlockReceipts": {"error": {"code": -32000, "message": message}},
        "eth_call": symbol_and_decimals(),
    }
    async with node(answers) as source:
        with pytest.raises(BlockGoneError):
            await source.block(5, frozenset())


def symbol_and_decimals() -> str:
    """One word that is both a small number and a short text: what `decimals` and `symbol` are asked for."""
    return "0x" + "00" * 31 + "41"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("0x", "decimals"), ("0x" + "ff" * 32, "decimals"), (WORD, "symbol")],
    ids=["empty", "huge", "nameless"],
)
async def test_a_contract_that_is_no_token(word: str, reason: str) -> None:
    async with node({"eth_call": word}) as source:
        with pytest.raises(SourceUnavailableError, match=reason):
            await source.assets()


async def test_a_transaction_without_its_receipt() -> None:
    answers: dict[str, object] = {
        "eth_getBlockByNumber": BLOCK | {"transactions": [{"hash": WORD, "value": "0x1"}]},
        "eth_getBlockReceipts": [],
        "eth_call": symbol_and_decimals(),
    }
    async with node(answers) as source:
        with pytest.raises(SourceUnavailableError, match="no receipt"):
            await source.block(5, frozenset())
