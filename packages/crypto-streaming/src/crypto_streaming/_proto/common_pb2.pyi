import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClientStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT_STATUS_UNKNOWN: _ClassVar[ClientStatus]
    CLIENT_STATUS_ACTIVE: _ClassVar[ClientStatus]
    CLIENT_STATUS_PAUSED: _ClassVar[ClientStatus]
    CLIENT_STATUS_ERROR: _ClassVar[ClientStatus]
    CLIENT_STATUS_STOPPED: _ClassVar[ClientStatus]
CLIENT_STATUS_UNKNOWN: ClientStatus
CLIENT_STATUS_ACTIVE: ClientStatus
CLIENT_STATUS_PAUSED: ClientStatus
CLIENT_STATUS_ERROR: ClientStatus
CLIENT_STATUS_STOPPED: ClientStatus

class CommandAck(_message.Message):
    __slots__ = ("command_id", "success", "message", "error", "current_status", "timestamp", "stats", "result")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    success: bool
    message: str
    error: str
    current_status: ClientStatus
    timestamp: _timestamp_pb2.Timestamp
    stats: ClientStats
    result: _struct_pb2.Struct
    def __init__(self, command_id: _Optional[str] = ..., success: _Optional[bool] = ..., message: _Optional[str] = ..., error: _Optional[str] = ..., current_status: _Optional[_Union[ClientStatus, str]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stats: _Optional[_Union[ClientStats, _Mapping]] = ..., result: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ClientStats(_message.Message):
    __slots__ = ("started_at", "messages_sent", "messages_receipted", "messages_buffered", "commands_handled", "commands_failed", "reconnects")
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_SENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_RECEIPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_BUFFERED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_HANDLED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FAILED_FIELD_NUMBER: _ClassVar[int]
    RECONNECTS_FIELD_NUMBER: _ClassVar[int]
    started_at: _timestamp_pb2.Timestamp
    messages_sent: int
    messages_receipted: int
    messages_buffered: int
    commands_handled: int
    commands_failed: int
    reconnects: int
    def __init__(self, started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., messages_sent: _Optional[int] = ..., messages_receipted: _Optional[int] = ..., messages_buffered: _Optional[int] = ..., commands_handled: _Optional[int] = ..., commands_failed: _Optional[int] = ..., reconnects: _Optional[int] = ...) -> None: ...
