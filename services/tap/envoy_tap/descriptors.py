"""The messages of gRPC methods, from files that protoc has made: google.protobuf.FileDescriptorSet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.json_format import Error as NoJsonError
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from envoy_tap.core.events import Side

HINT = "make it by protoc --include_imports --descriptor_set_out=FILE"
# Beyond it, what JSON makes of a message would take long and nobody would read it.
_MAX_MESSAGE_BYTES = 1 << 20


class DescriptorsError(ValueError):
    """A descriptor set that cannot be used; the message names the file and says why."""


class Descriptors:
    """A `core.decode.Schema` of descriptor sets; raises DescriptorsError."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        known: dict[str, FileDescriptorProto] = {}
        for path in paths:
            known |= {each.name: each for each in _files(path)}
        for each in _in_order(known):
            try:
                self._pool.AddSerializedFile(each.SerializeToString())
            except (TypeError, ValueError) as error:
                raise DescriptorsError(f"{each.name}: {error}; {HINT}") from None

    def read(self, method: str, side: Side, message: bytes) -> tuple[str, Mapping[str, Any]] | None:
        """Return the type's full name and the message as proto3 JSON, None where it is not known or does not fit."""
        found = self._type(method, side)
        if found is None or len(message) > _MAX_MESSAGE_BYTES:
            return None
        try:
            data = MessageToDict(
                found.FromString(message), preserving_proto_field_name=True, descriptor_pool=self._pool
            )
        # An Any of a type that is not in the set, and times out of range, have no JSON.
        except (DecodeError, NoJsonError, TypeError, ValueError, RecursionError):
            return None
        return found.DESCRIPTOR.full_name, data

    def _type(self, method: str, side: Side) -> type[Message] | None:
        _, _, path = method.partition("/")
        service, _, name = path.partition("/")
        try:
            found = self._pool.FindServiceByName(service).methods_by_name[name]
        except (KeyError, UnicodeError):
            return None
        return GetMessageClass(found.input_type if side is Side.REQUEST else found.output_type)


def _files(path: Path) -> Sequence[FileDescriptorProto]:
    try:
        found = FileDescriptorSet.FromString(path.read_bytes())
    except OSError as error:
        raise DescriptorsError(f"{path}: {error.strerror}") from None
    except DecodeError:
        raise DescriptorsError(f"{path}: is no descriptor set; {HINT}") from None
    if not found.file:
        raise DescriptorsError(f"{path}: is empty; {HINT}")
    return found.file


def _in_order(known: Mapping[str, FileDescriptorProto]) -> Iterator[FileDescriptorProto]:
    """Yield each file after those that it imports; several sets may hold the same ones."""
    done: set[str] = set()
    # Not recursive: a chain of imports may be as long as who made the file likes.
    waiting = list(known.values())[::-1]
    begun: set[str] = set()
    while waiting:
        each = waiting.pop()
        needed = [known[name] for name in each.dependency if name in known and name not in done | begun]
        if each.name in done:
            continue
        if needed:
            begun.add(each.name)
            waiting += [each, *needed]
            continue
        done.add(each.name)
        yield each
