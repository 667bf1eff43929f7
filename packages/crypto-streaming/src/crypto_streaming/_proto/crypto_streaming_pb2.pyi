import datetime

from . import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union
from .common_pb2 import CommandAck as CommandAck
from .common_pb2 import ClientStats as ClientStats
from .common_pb2 import ClientStatus as ClientStatus

DESCRIPTOR: _descriptor.FileDescriptor
CLIENT_STATUS_UNKNOWN: _common_pb2.ClientStatus
CLIENT_STATUS_ACTIVE: _common_pb2.ClientStatus
CLIENT_STATUS_PAUSED: _common_pb2.ClientStatus
CLIENT_STATUS_ERROR: _common_pb2.ClientStatus
CLIENT_STATUS_STOPPED: _common_pb2.ClientStatus

class ClientCapability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT_CAPABILITY_UNSPECIFIED: _ClassVar[ClientCapability]
    CLIENT_CAPABILITY_RECEIPTS: _ClassVar[ClientCapability]
    CLIENT_CAPABILITY_RECONNECT: _ClassVar[ClientCapability]
CLIENT_CAPABILITY_UNSPECIFIED: ClientCapability
CLIENT_CAPABILITY_RECEIPTS: ClientCapability
CLIENT_CAPABILITY_RECONNECT: ClientCapability

class ClientMessage(_message.Message):
    __slots__ = ("client_id", "message_id", "timestamp", "register", "wallet_update", "transaction", "status", "heartbeat", "error", "log", "command_ack", "batch", "goodbye")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    WALLET_UPDATE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ACK_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    message_id: str
    timestamp: _timestamp_pb2.Timestamp
    register: ClientRegistration
    wallet_update: WalletUpdate
    transaction: TransactionReport
    status: StatusUpdate
    heartbeat: HeartbeatUpdate
    error: ErrorReport
    log: LogEntry
    command_ack: _common_pb2.CommandAck
    batch: ClientBatch
    goodbye: ClientGoodbye
    def __init__(self, client_id: _Optional[str] = ..., message_id: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., register: _Optional[_Union[ClientRegistration, _Mapping]] = ..., wallet_update: _Optional[_Union[WalletUpdate, _Mapping]] = ..., transaction: _Optional[_Union[TransactionReport, _Mapping]] = ..., status: _Optional[_Union[StatusUpdate, _Mapping]] = ..., heartbeat: _Optional[_Union[HeartbeatUpdate, _Mapping]] = ..., error: _Optional[_Union[ErrorReport, _Mapping]] = ..., log: _Optional[_Union[LogEntry, _Mapping]] = ..., command_ack: _Optional[_Union[_common_pb2.CommandAck, _Mapping]] = ..., batch: _Optional[_Union[ClientBatch, _Mapping]] = ..., goodbye: _Optional[_Union[ClientGoodbye, _Mapping]] = ...) -> None: ...

class ClientRegistration(_message.Message):
    __slots__ = ("client_name", "client_type", "version", "api_url", "labels", "capabilities")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_URL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    client_name: str
    client_type: str
    version: str
    api_url: str
    labels: _containers.ScalarMap[str, str]
    capabilities: _containers.RepeatedScalarFieldContainer[ClientCapability]
    def __init__(self, client_name: _Optional[str] = ..., client_type: _Optional[str] = ..., version: _Optional[str] = ..., api_url: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capabilities: _Optional[_Iterable[_Union[ClientCapability, str]]] = ...) -> None: ...

class WalletUpdate(_message.Message):
    __slots__ = ("wallet_id", "symbol", "balance_available", "balance_locked", "last_sync")
    WALLET_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    BALANCE_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    BALANCE_LOCKED_FIELD_NUMBER: _ClassVar[int]
    LAST_SYNC_FIELD_NUMBER: _ClassVar[int]
    wallet_id: str
    symbol: str
    balance_available: str
    balance_locked: str
    last_sync: _timestamp_pb2.Timestamp
    def __init__(self, wallet_id: _Optional[str] = ..., symbol: _Optional[str] = ..., balance_available: _Optional[str] = ..., balance_locked: _Optional[str] = ..., last_sync: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TransactionReport(_message.Message):
    __slots__ = ("transaction_id", "type", "symbol", "amount", "status", "details")
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    transaction_id: str
    type: str
    symbol: str
    amount: str
    status: str
    details: str
    def __init__(self, transaction_id: _Optional[str] = ..., type: _Optional[str] = ..., symbol: _Optional[str] = ..., amount: _Optional[str] = ..., status: _Optional[str] = ..., details: _Optional[str] = ...) -> None: ...

class StatusUpdate(_message.Message):
    __slots__ = ("status", "details")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ClientStatus
    details: str
    def __init__(self, status: _Optional[_Union[_common_pb2.ClientStatus, str]] = ..., details: _Optional[str] = ...) -> None: ...

class HeartbeatUpdate(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ErrorReport(_message.Message):
    __slots__ = ("severity", "message", "traceback")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    severity: str
    message: str
    traceback: str
    def __init__(self, severity: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("level", "message", "extra_data")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_DATA_FIELD_NUMBER: _ClassVar[int]
    level: str
    message: str
    extra_data: str
    def __init__(self, level: _Optional[str] = ..., message: _Optional[str] = ..., extra_data: _Optional[str] = ...) -> None: ...

class ClientBatch(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ClientMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[ClientMessage, _Mapping]]] = ...) -> None: ...

class ClientGoodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class DjangoCommand(_message.Message):
    __slots__ = ("command_id", "timestamp", "expires_at", "ping", "pause", "resume", "sync_wallets", "request_status", "welcome", "receipt", "reconnect")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SYNC_WALLETS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_STATUS_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    timestamp: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    ping: PingCommand
    pause: PauseClientCommand
    resume: ResumeClientCommand
    sync_wallets: SyncWalletsCommand
    request_status: RequestStatusCommand
    welcome: Welcome
    receipt: MessageReceipt
    reconnect: Reconnect
    def __init__(self, command_id: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ping: _Optional[_Union[PingCommand, _Mapping]] = ..., pause: _Optional[_Union[PauseClientCommand, _Mapping]] = ..., resume: _Optional[_Union[ResumeClientCommand, _Mapping]] = ..., sync_wallets: _Optional[_Union[SyncWalletsCommand, _Mapping]] = ..., request_status: _Optional[_Union[RequestStatusCommand, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., receipt: _Optional[_Union[MessageReceipt, _Mapping]] = ..., reconnect: _Optional[_Union[Reconnect, _Mapping]] = ...) -> None: ...

class PingCommand(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class PauseClientCommand(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ResumeClientCommand(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class SyncWalletsCommand(_message.Message):
    __slots__ = ("symbols",)
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, symbols: _Optional[_Iterable[str]] = ...) -> None: ...

class RequestStatusCommand(_message.Message):
    __slots__ = ("include_stats",)
    INCLUDE_STATS_FIELD_NUMBER: _ClassVar[int]
    include_stats: bool
    def __init__(self, include_stats: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("gateway_id", "epoch", "heartbeat_interval", "liveness_timeout", "window_messages", "window_bytes", "max_message_bytes")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    epoch: int
    heartbeat_interval: _duration_pb2.Duration
    liveness_timeout: _duration_pb2.Duration
    window_messages: int
    window_bytes: int
    max_message_bytes: int
    def __init__(self, gateway_id: _Optional[str] = ..., epoch: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., liveness_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., window_messages: _Optional[int] = ..., window_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ...) -> None: ...

class MessageReceipt(_message.Message):
    __slots__ = ("message_ids",)
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Reconnect(_message.Message):
    __slots__ = ("delay", "reason")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    delay: _duration_pb2.Duration
    reason: str
    def __init__(self, delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class SendCommandRequest(_message.Message):
    __slots__ = ("client_id", "command")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    command: DjangoCommand
    def __init__(self, client_id: _Optional[str] = ..., command: _Optional[_Union[DjangoCommand, _Mapping]] = ...) -> None: ...

class SendCommandResponse(_message.Message):
    __slots__ = ("success", "error", "command_id")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    command_id: str
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...
