"""A free port stays free until the server that it is meant for takes it."""

import socket

from envoy_demo.ports import LOOPBACK, free_port


def test_a_free_port_can_be_bound_by_a_server() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, free_port()))


def test_the_kernel_gives_a_free_port_to_nobody_else() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
