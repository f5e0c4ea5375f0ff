"""The reference's environment: what it comes to here, what differs, and no secret shown."""

import json
from pathlib import Path

import pytest

from envoy_ratelimit.cli import app
from envoy_ratelimit.migrate import Mapped, notes, translate
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.address import parse_address
from envoy_sidecar import cli
from tests.ratelimit.asking import ratelimit

EVERYTHING = frozenset(
    [
        "listen",
        "admin",
        "config",
        "config_xds",
        "config_xds_node_id",
        "config_xds_node_metadata",
        "config_xds_header",
        "config_xds_tls",
        "config_xds_tls_ca",
        "config_xds_wait",
        "store",
        "store_per_second",
        "default_algorithm",
        "default_charge",
        "shadow_mode",
        "near_limit_ratio",
        "response_headers",
        "limit_header",
        "merge_domains",
        "store_key_prefix",
        "log_level",
        "tls_cert",
    ]
)
TCP = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "redis:6379"}


def options(**environment: str) -> dict[str, str]:
    found = translate({**TCP, **environment}, EVERYTHING)
    return {mapped.option: " ".join(mapped.values) for mapped in found if mapped.option}


def test_an_environment_of_somebody_else_means_nothing() -> None:
    assert translate({"PORT": "80", "REDIS_URL": "redis:6379", "LOG_LEVEL": "debug"}, EVERYTHING) == []


def test_the_references_defaults_come_with_its_environment() -> None:
    assert options() == {
        "listen": "0.0.0.0:8081",
        "admin": "0.0.0.0:8080",
        "config": "/srv/runtime_data/current/config",
        "store": "redis://redis:6379/0",
        "default_algorithm": "fixed_window",
    }


def test_what_is_set_is_mapped() -> None:
    found = options(
        GRPC_PORT="81",
        HOST="::",
        PORT="80",
        RUNTIME_ROOT="/data/",
        RUNTIME_SUBDIRECTORY="ratelimit",
        RUNTIME_APPDIRECTORY="limits",
        SHADOW_MODE="true",
        NEAR_LIMIT_RATIO="0.7",
        LIMIT_RESPONSE_HEADERS_ENABLED="1",
        LIMIT_LIMIT_HEADER="x-limit",
        MERGE_DOMAIN_CONFIG="T",
        CACHE_KEY_PREFIX="rl:",
        LOG_LEVEL="WARN",
    )
    assert found == {
        "listen": "0.0.0.0:81",
        "admin": "[::]:80",
        "config": "/data/ratelimit/limits",
        "store": "redis://redis:6379/0",
        "default_algorithm": "fixed_window",
        "shadow_mode": "true",
        "near_limit_ratio": "0.7",
        "response_headers": "draft",
        "limit_header": "x-limit",
        "merge_domains": "true",
        "store_key_prefix": "rl:",
        "log_level": "warning",
    }


def test_a_control_plane_takes_the_place_of_files() -> None:
    found = options(
        CONFIG_TYPE="GRPC_XDS_SOTW",
        CONFIG_GRPC_XDS_SERVER_URL="gateway:18001",
        CONFIG_GRPC_XDS_NODE_ID="limits",
        CONFIG_GRPC_XDS_NODE_METADATA="zone=a,team=b",
        CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS="x-token:hidden",
        CONFIG_GRPC_XDS_SERVER_USE_TLS="true",
        CONFIG_GRPC_XDS_SERVER_TLS_CACERT="/ca.pem",
        FORCE_START_WITHOUT_INITIAL_CONFIG="true",
    )
    assert "config" not in found
    assert found["config_xds"] == "gateway:18001"
    assert found["config_xds_node_id"] == "limits"
    assert found["config_xds_node_metadata"] == "zone=a team=b"
    assert found["config_xds_header"] == "x-token=hidden"
    assert found["config_xds_tls"] == "true"
    assert found["config_xds_tls_ca"] == "/ca.pem"
    assert found["config_xds_wait"] == "0"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"REDIS_URL": "/run/redis.sock", "REDIS_SOCKET_TYPE": "unix"}, "unix:///run/redis.sock"),
        ({"REDIS_AUTH": "p@ss"}, "redis://:p%40ss@redis:6379/0"),
        ({"REDIS_AUTH": "me:p:w", "REDIS_TLS": "true"}, "rediss://me:p%3Aw@redis:6379/0"),
        ({"REDIS_TYPE": "CLUSTER", "REDIS_URL": "a:1,b:2"}, "redis+cluster://a:1,b:2"),
        ({"REDIS_TYPE": "sentinel", "REDIS_URL": "main,a:1,b:2"}, "redis+sentinel://a:1,b:2/main"),
        (
            {
                "REDIS_TYPE": "sentinel",
                "REDIS_URL": "main,a:1",
                "REDIS_SENTINEL_AUTH": "u:w",
                "REDIS_AUTH": "pw",
            },
            "redis+sentinel://:pw@a:1/main?sentinel_username=u&sentinel_password=w",
        ),
        (
            {"REDIS_TLS": "true", "REDIS_TLS_CACERT": "/ca", "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "true"},
            "rediss://redis:6379/0?ssl_ca_certs=/ca&ssl_check_hostname=false",
        ),
        ({"REDIS_URL": "redis://redis:6379"}, "redis://redis:6379"),
        ({"REDIS_AUTH_FILE": "/run/secret"}, "redis://redis:6379/0?password_file=/run/secret"),
        (
            {"REDIS_AUTH_FILE": "/s", "REDIS_URL": "/r.sock", "REDIS_SOCKET_TYPE": "unix"},
            "unix:///r.sock?password_file=/s",
        ),
        (
            {"REDIS_TYPE": "CLUSTER", "REDIS_URL": "redis://:p%40w@a:1,redis://:p%40w@b:2/0"},
            "redis+cluster://:p%40w@a:1,b:2",
        ),
        (
            {"REDIS_TYPE": "SENTINEL", "REDIS_URL": "main,redis://:p%40w@a:1,redis://b:2", "REDIS_AUTH": "q"},
            "redis+sentinel://:q@a:1,b:2/main?sentinel_password=p%40w",
        ),
    ],
)
def test_each_kind_of_redis_has_a_url_that_the_store_reads(environment: dict[str, str], url: str) -> None:
    assert options(**environment)["store"] == url
    parse_address(url)


def test_a_second_redis_for_limits_per_second() -> None:
    found = options(
        REDIS_PERSECOND="true",
        REDIS_PERSECOND_SOCKET_TYPE="tcp",
        REDIS_PERSECOND_URL="second:6379",
        REDIS_PERSECOND_AUTH="pw",
    )
    assert found["store_per_second"] == "redis://:pw@second:6379/0"
    assert "store_per_second" not in options(REDIS_PERSECOND_URL="second:6379")


@pytest.mark.parametrize(
    "wrong",
    [
        {"REDIS_TYPE": "RING"},
        {"REDIS_TYPE": "SENTINEL", "REDIS_URL": "a:1,b:2"},
        {"BACKEND_TYPE": "memcache"},
    ],
)
def test_a_store_that_cannot_be_had_is_not_memory_instead(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        open_store(options(**wrong)["store"])


def test_what_the_reference_does_not_charge_for_a_refusal_is_not_charged_here() -> None:
    assert options(LOCAL_CACHE_SIZE_IN_BYTES="1048576")["default_charge"] == "all_or_nothing"
    assert options(STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT="true")["default_charge"] == "all_or_nothing"
    off = options(LOCAL_CACHE_SIZE_IN_BYTES="0", STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT="false")
    assert "default_charge" not in off


def test_what_is_off_is_no_difference() -> None:
    environment = {**TCP, "USE_STATSD": "false", "TRACING_ENABLED": "F", "QUOTA_MODE": "0"}
    assert notes(translate(environment, EVERYTHING)) == []


def test_what_is_not_understood_is_listed_without_its_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [*(f"{name}={value}" for name, value in TCP.items()), "OF_OURS=hidden", "LIMIT_TYPO=hidden"]
    code, shown, _ = migrate(capsys, tmp_path / "env", "\n".join(lines).encode())
    assert code == 1
    marks = {line.split("│")[1].strip(): line[0] for line in shown.splitlines() if line.count("│") > 1}
    assert marks["OF_OURS"] == marks["LIMIT_TYPO"] == "?"
    assert "hidden" not in shown


@pytest.mark.parametrize("name", ["X-Bad Header", "", "x:", "größe", ":status", "x\r\ny"])
@pytest.mark.parametrize("option", ["limit", "remaining", "reset"])
def test_a_name_that_no_header_can_have_is_refused(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve", "--config", "x", f"--{option}-header={name}"])
    assert stopped.value.code != 0
    assert "RFC 9110" in " ".join(capsys.readouterr().err.split())


def test_a_header_of_the_reference_is_lower_cased_and_one_that_cannot_be_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**TCP, "LIMIT_RESPONSE_HEADERS_ENABLED": "true", "LIMIT_LIMIT_HEADER": "X-Bad Header"}
    lines = [f"{name}={value}" for name, value in environment.items()]
    code, shown, _ = migrate(capsys, tmp_path / "env", "\n".join(lines).encode())
    assert code == 1
    assert any(line.startswith("✗ │ LIMIT_LIMIT_HEADER") for line in shown.splitlines())
    options = serve_settings(
        monkeypatch, **{**environment, "LIMIT_LIMIT_HEADER": "X-Limit"}
    ).response_options()
    assert options.headers is not None
    assert (options.headers.limit, options.headers.reset) == ("x-limit", "ratelimit-reset")


def test_an_option_that_is_not_there_is_said() -> None:
    said = notes(translate({**TCP, "SHADOW_MODE": "true"}, EVERYTHING - {"shadow_mode"}))
    assert said == ["SHADOW_MODE: needs --shadow-mode, which this version does not have"]


@pytest.mark.parametrize(
    "names",
    [("REDIS_AUTH", "REDIS_SENTINEL_AUTH", "REDIS_PERSECOND_AUTH"), ("REDIS_SENTINEL_AUTH",)],
    ids=["all", "of_sentinel_alone"],
)
def test_secrets_are_not_shown(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    env_file = tmp_path / "env"
    secrets = [f"{name}=hidden" for name in names]
    lines = [*secrets, "REDIS_TYPE=SENTINEL", "export REDIS_URL='m,a:1'", "REDIS_PERSECOND=true", "# comment"]
    headers = "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=authorization:hidden"
    env_file.write_text("\n".join([*lines, "CONFIG_TYPE=GRPC_XDS_SOTW", headers]), "utf-8")
    for form in ("text", "json"):
        with pytest.raises(SystemExit):
            cli.run(app, ["migrate", "--env-file", str(env_file), "--format", form])
        shown = capsys.readouterr().out
        assert "sentinel" in shown
        assert "hidden" not in shown


@pytest.mark.parametrize(("more", "code"), [("", 0), ("USE_STATSD=true", 1)])
def test_the_exit_code_says_whether_something_differs(
    more: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envoy_ratelimit.cli._OPTIONS", EVERYTHING)
    env_file = tmp_path / "env"
    env_file.write_text(f"REDIS_SOCKET_TYPE=tcp\nREDIS_URL=r:1\n{more}", "utf-8")
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["migrate", "--env-file", str(env_file), "--format", "json"])
    assert stopped.value.code == code
    found = json.loads(capsys.readouterr().out)
    assert {row["option"] for row in found} >= {"listen", "store"}


def migrate(
    capsys: pytest.CaptureFixture[str], file: Path, content: bytes | None
) -> tuple[str | int | None, str, str]:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["migrate", "--env-file", str(file)])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_what_serve_would_refuse_is_said_with_all_else_that_it_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What this process's own environment has is nobody's business here.
    monkeypatch.setenv("RATELIMIT_STORE_TIMEOUT", "never")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    lines = [*(f"{name}={value}" for name, value in TCP.items()), "GRPC_PORT=x", "NEAR_LIMIT_RATIO=7"]
    more = ["REDIS_URL=::::", "REDIS_AUTH=hidden", "LOG_FORMAT=xml", "PORT=9", "LOG_LEVEL"]
    code, shown, _ = migrate(capsys, tmp_path / "env", "\n".join([*lines, *more]).encode())
    assert code == 1
    assert "hidden" not in shown
    marks = {line.split("│")[2].split()[0]: line[0] for line in shown.splitlines() if "│ --" in line}
    assert {option for option, mark in marks.items() if mark == "✗"} == {
        "--listen",
        "--near-limit-ratio",
        "--store",
        "--log-format",
    }
    assert "'x' is not a port" in shown
    assert marks["--admin"] == marks["--log-level"] == "✓"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "env: No such file or directory"),
        (b"\xff", "env: this is not UTF-8"),
        (b"REDIS_TYPE=single\nsecret word", "env:2:1: this is no variable; write NAME=VALUE"),
        (b"PORT=1", "this is not the reference's environment, which sets one of BACKEND_TYPE, "),
    ],
)
def test_a_file_that_is_no_environment_is_a_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, said: str
) -> None:
    code, shown, err = migrate(capsys, tmp_path / "env", content)
    assert (code, shown) == (2, "")
    assert said in err
    assert "secret" not in err


def test_the_shown_values_are_the_values() -> None:
    assert Mapped(("A",), "config", ("a", "b")).shown == "a b"


def serve_settings(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> RatelimitSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, bound, _ = app.parse_args(["serve", *arguments], exit_on_error=False)
    settings = bound.arguments["settings"]
    assert isinstance(settings, RatelimitSettings)
    return settings


def test_serve_reads_the_references_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = serve_settings(
        monkeypatch,
        CONFIG_TYPE="GRPC_XDS_SOTW",
        CONFIG_GRPC_XDS_SERVER_URL="gateway:18001",
        CONFIG_GRPC_XDS_NODE_METADATA="zone=a,team=b",
        CONFIG_GRPC_XDS_SERVER_USE_TLS="true",
        REDIS_SOCKET_TYPE="tcp",
        REDIS_URL="redis:6379",
        NEAR_LIMIT_RATIO="0.5",
    )
    assert (settings.config, settings.store) == ((), "redis://redis:6379/0")
    assert (settings.listen, settings.admin, settings.near_limit_ratio) == (
        "0.0.0.0:8081",
        "0.0.0.0:8080",
        0.5,
    )
    server = settings.xds_server()
    assert server is not None
    assert (server.address, server.tls, server.node_metadata) == (
        "gateway:18001",
        True,
        {"zone": "a", "team": "b"},
    )


def test_our_own_variables_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = serve_settings(
        monkeypatch,
        "--admin",
        "127.0.0.1:1",
        **TCP,
        RATELIMIT_LISTEN="127.0.0.1:2",
        RATELIMIT_CONFIG_XDS="127.0.0.1:3",
        GRPC_PORT="4",
        PORT="5",
        RUNTIME_ROOT="/data",
    )
    assert (settings.listen, settings.admin) == ("127.0.0.1:2", "127.0.0.1:1")
    assert (settings.config, settings.config_xds) == ((), "127.0.0.1:3")


def test_a_deployment_swaps_only_the_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "ratelimit" / "config"
    folder.mkdir(parents=True)
    (folder / "limits.yaml").write_text(
        "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {unit: day, requests_per_unit: 7}\n",
        "utf-8",
    )
    environment = {
        "RUNTIME_ROOT": str(tmp_path),
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "REDIS_URL": "127.0.0.1:1",
        "REDIS_AUTH": "hidden",
        "REDIS_SOCKET_TYPE": "tcp",
        "USE_STATSD": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with ratelimit(tmp_path) as admin:
        assert "edge.user: unit=DAY requests_per_unit=7" in admin.get("/rlconfig").text
        assert "127.0.0.1:1" in admin.get("/config").json()["store"]
        shown = admin.get("/config").text + admin.service.process.log_text()
    assert "USE_STATSD: metrics are at /metrics" in shown
    assert "hidden" not in shown
