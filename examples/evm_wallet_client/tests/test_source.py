"""What every source of a chain does, proven over each."""

from __future__ import annotations

import asyncio

import pytest
from support.chain_handles import Chain

from evm_wallet_client.source import Block, BlockGoneError, SourceUnavailableError

UINT_WEI = 123_456_789_012_345_678_901


async def newest(chain: Chain, *watched: str) -> Block:
    head = await chain.source.head()
    return await chain.source.block(head.number, frozenset(watched))


async def test_assets_are_the_coin_and_the_token_with_its_decimals(chain: Chain) -> None:
    coin, token = await chain.source.assets()
    assert (coin.symbol, coin.decimals, coin.contract) == ("ETH", 18, None)
    assert (token.symbol, token.decimals) == ("DEMO", 6)
    assert token.contract is not None


async def test_blocks_link_to_their_parents(chain: Chain) -> None:
    before = await chain.source.head()
    chain.mine()
    block = await newest(chain)
    assert block.ref == await chain.source.head() == await chain.source.ref(before.number + 1)
    assert block.ref.number == before.number + 1
    assert block.parent_hash == before.hash
    assert await chain.source.ref(before.number + 2) is None
    with pytest.raises(BlockGoneError):
        await chain.source.block(before.number + 2, frozenset())


async def test_a_transfer_has_every_digit(chain: Chain) -> None:
    sender, recipient = chain.accounts[1:3]
    sent = chain.send(sender, recipient, UINT_WEI)
    chain.mine()
    (transfer,) = (await newest(chain, recipient)).transfers
    assert (transfer.id, transfer.sender, transfer.recipient) == (sent, sender, recipient)
    assert (transfer.raw, transfer.asset.symbol, transfer.succeeded, transfer.created) == (UINT_WEI, "ETH", True, False)


async def test_several_transfers_in_one_block_keep_their_order(chain: Chain) -> None:
    a, b, c = chain.accounts[1:4]
    sent = [chain.send(a, b, 1), chain.send(c, b, 2), chain.send(a, c, 3), chain.send(a, b, 4)]
    chain.mine()
    assert [transfer.id for transfer in (await newest(chain, a)).transfers] == [sent[0], sent[2], sent[3]]
    assert [transfer.id for transfer in (await newest(chain, b)).transfers] == [sent[0], sent[1], sent[3]]


async def test_a_transfer_to_oneself_is_one_transfer(chain: Chain) -> None:
    account = chain.accounts[1]
    sent = chain.send(account, account, 5)
    chain.mine()
    (transfer,) = (await newest(chain, account)).transfers
    assert (transfer.id, transfer.sender, transfer.recipient) == (sent, account, account)


async def test_a_contract_is_created_with_coins(chain: Chain) -> None:
    creator = chain.accounts[1]
    chain.send(creator, None, 7)
    chain.mine()
    (transfer,) = (await newest(chain, creator)).transfers
    assert (transfer.raw, transfer.created, transfer.succeeded) == (7, True, True)
    assert transfer.recipient is not None
    coin, _ = await chain.source.assets()
    assert await chain.source.balance(transfer.recipient, coin, await chain.source.head()) == 7


async def test_a_reverted_transfer_moves_only_the_gas(chain: Chain) -> None:
    sender = chain.accounts[1]
    coin, token = await chain.source.assets()
    before = await chain.source.balance(sender, coin, await chain.source.head())
    sent = chain.send_failing(sender, 10**18)
    chain.mine()
    (transfer,) = (await newest(chain, sender)).transfers
    assert (transfer.id, transfer.succeeded, transfer.recipient) == (sent, False, token.contract)
    after = await chain.source.balance(sender, coin, await chain.source.head())
    assert before - 10**18 < after < before


async def test_a_transfer_of_tokens(chain: Chain) -> None:
    owner, recipient = chain.accounts[0], chain.accounts[4]
    _, token = await chain.source.assets()
    before = await chain.source.balance(recipient, token, await chain.source.head())
    sent = chain.send_token(owner, recipient, 1_000_001)
    chain.mine()
    (transfer,) = (await newest(chain, recipient)).transfers
    assert (transfer.id, transfer.asset, transfer.raw) == (f"{sent}:0", token, 1_000_001)
    assert (transfer.sender, transfer.recipient) == (owner, recipient)
    assert await chain.source.balance(recipient, token, await chain.source.head()) == before + 1_000_001


async def test_balances_are_those_after_the_named_block(chain: Chain) -> None:
    coin, _ = await chain.source.assets()
    recipient = chain.accounts[5]
    first = await chain.source.head()
    before = await chain.source.balance(recipient, coin, first)
    chain.send(chain.accounts[1], recipient, UINT_WEI)
    chain.mine()
    assert await chain.source.balance(recipient, coin, first) == before
    assert await chain.source.balance(recipient, coin, await chain.source.head()) == before + UINT_WEI


async def test_a_reorganised_block_is_gone(chain: Chain) -> None:
    coin, _ = await chain.source.assets()
    sender, recipient = chain.accounts[1:3]
    before = await chain.source.balance(recipient, coin, await chain.source.head())
    chain.send(sender, recipient, 9)
    chain.mine()
    gone = (await newest(chain)).ref
    identity = await chain.source.identity()
    chain.reorganise(1)
    head = await chain.source.head()
    assert head.number == gone.number
    assert head != gone
    with pytest.raises(BlockGoneError):
        await chain.source.balance(recipient, coin, gone)
    assert await chain.source.balance(recipient, coin, head) == before
    assert await chain.source.identity() == identity


async def test_an_unreachable_node_comes_back(chain: Chain) -> None:
    chain.mine()
    head, identity = await chain.source.head(), await chain.source.identity()
    chain.break_down()
    with pytest.raises(SourceUnavailableError):
        await chain.source.head()
    chain.come_back()
    assert await chain.source.head() == head
    assert await chain.source.identity() == identity


async def test_another_chain_has_another_identity(chain: Chain) -> None:
    before = await chain.source.identity()
    chain.start_afresh()
    assert await chain.source.identity() != before


async def test_cancelled_calls_leave_the_source_usable(chain: Chain) -> None:
    chain.mine()
    head = await chain.source.head()
    coin, _ = await chain.source.assets()
    for turns in range(30):
        calls = [asyncio.create_task(chain.source.balance(each, coin, head)) for each in chain.accounts[:4]]
        # A different moment of the call each time.
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await chain.source.head() == head
