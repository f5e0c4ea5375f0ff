"""gRPC messages by the names in a descriptor set, as protoc makes it."""

from pathlib import Path

import pytest
from grpc_tools import protoc

from envoy_sidecar import cli
from envoy_tap.cli import app
from envoy_tap.core.events import Side
from envoy_tap.descriptors import Descriptors, DescriptorsError

COMMON = """syntax = "proto3"; package shop; message Money { int64 cents = 1; }"""
ORDERS = """
syntax = "proto3";
package shop;
import "common.proto";
import "google/protobuf/timestamp.proto";
message Order { string item = 1; Money price = 2; google.protobuf.Timestamp at = 3; }
message Got { uint32 spoons_left = 1; }
service Orders { rpc Put(Order) returns (Got); }
"""


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protos")
    (folder / "common.proto").write_text(COMMON, "utf-8")
    (folder / "orders.proto").write_text(ORDERS, "utf-8")
    known = Path(protoc.__file__).parent / "_proto"
    options = [f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={folder}/set.pb"]
    assert protoc.main(["protoc", *options, "orders.proto"]) == 0
    return folder / "set.pb"


def test_both_messages_of_a_method_are_read_by_their_names(descriptors: Path) -> None:
    schema = Descriptors([descriptors, descriptors])
    order = b"\x0a\x03tea\x12\x03\x08\xac\x02\x1a\x02\x08\x01"
    assert schema.read("/shop.Orders/Put", Side.REQUEST, order) == (
        "shop.Order",
        {"item": "tea", "price": {"cents": "300"}, "at": "1970-01-01T00:00:01Z"},
    )
    assert schema.read("/shop.Orders/Put", Side.RESPONSE, b"\x08\x07") == ("shop.Got", {"spoons_left": 7})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("/shop.Orders/Put", b"\x0a\xff"),
        ("/shop.Orders/Put", b"\x1a\x0a\x08" + b"\xff" * 8 + b"\x7f"),
        ("/shop.Orders/Other", b""),
        ("/shop.Other/Put", b""),
        ("/", b""),
        ("\xff/\x00", b""),
    ],
    ids=["cut", "time out of range", "method", "service", "nothing", "rubbish"],
)
def test_what_does_not_fit_is_none(descriptors: Path, method: str, message: bytes) -> None:
    assert Descriptors([descriptors]).read(method, Side.REQUEST, message) is None


def test_a_file_that_is_no_descriptor_set_is_named(
    tmp_path: Path, descriptors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "not.pb").write_bytes(b"\xff")
    (tmp_path / "empty.pb").write_bytes(b"")
    for name, said in (
        ("none.pb", "No such file"),
        ("not.pb", "no descriptor set"),
        ("empty.pb", "is empty"),
    ):
        with pytest.raises(DescriptorsError, match=said):
            Descriptors([tmp_path / name])
    only_one = tmp_path / "one.pb"
    only_one.write_bytes(
        descriptors.read_bytes()[descriptors.read_bytes().rindex(b"\x0a\x0corders.proto") - 3 :]
    )
    with pytest.raises(DescriptorsError, match="--include_imports"):
        Descriptors([only_one])
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve", "--data", str(tmp_path / "data"), "--descriptors", str(tmp_path / "not.pb")])
    assert stopped.value.code == 2
    assert f"--descriptors {tmp_path}/not.pb: is no descriptor set" in capsys.readouterr().err
