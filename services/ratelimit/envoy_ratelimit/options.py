"""Those options of `envoy-ratelimit serve` about limits and answers: where limits come from, what is seen of them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from envoy_ratelimit.config.xds import XdsServer
from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.response import X_RATELIMIT, HeaderNames, ResponseOptions
from envoy_ratelimit.core.rule import Charge
from envoy_ratelimit.core.rules import Defaults
from envoy_ratelimit.observe.decision_log import DecisionLogOptions
from envoy_ratelimit.observe.metrics import MAX_RULES, NEAR_LIMIT_RATIO
from envoy_ratelimit.observe.naming import KeyStyle
from envoy_sidecar.settings import ServerSettings, SettingsError
from envoy_sidecar.transport.address import Address

ConfigOption = Annotated[
    tuple[Path, ...],
    Parameter(
        consume_multiple=True,
        negative=(),
        help="Limit files in the reference's YAML, or folders of them; watched and read again when they change.",
    ),
]

_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
MergeOption = Annotated[
    bool,
    Parameter(
        negative=(), help="Let several files, or resources of a control plane, hold one domain together."
    ),
]
AlgorithmName = Literal["token_bucket", "fixed_window", "sliding_window"]
AlgorithmOption = Annotated[
    AlgorithmName,
    Parameter(
        help="How limits count that do not say it; fixed_window is as the Go service does, charged on denial too."
    ),
]
ChargeName = Literal["all_or_nothing", "each", "always"]
ChargeOption = Annotated[
    ChargeName | None,
    Parameter(
        help="What a refused request is charged by limits that do not say it; unless given, always with "
        "--default-algorithm fixed_window, and else all_or_nothing."
    ),
]


def make_defaults(
    algorithm: AlgorithmName, charge: ChargeName | None, *, shadow_mode: bool = False
) -> Defaults:
    """Return what options say of limits that do not say otherwise."""
    return Defaults(Algorithm(algorithm), Charge(charge) if charge else None, shadow_mode)


def _is_target(_type: Any, value: str) -> None:
    if value:
        Address.parse(value)


def _is_header(_type: Any, value: str | None) -> None:
    if value is not None and not _HEADER.fullmatch(value):
        raise ValueError("a header's name is one or more of letters, digits and !#$%&'*+-.^_`|~ (RFC 9110)")


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not name or not equals for name, equals, _ in pairs):
        raise SettingsError(f"{option}: write NAME=VALUE")  # without the text: a header may be secret
    return {name.strip(): value.strip() for name, _, value in pairs}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings(ServerSettings):
    """Where limits come from: files, or a control plane."""

    config: ConfigOption = ()
    merge_domains: MergeOption = False
    strict_config: Annotated[
        bool,
        Parameter(
            negative=(), help="Let one broken file refuse all; else the others hold, and it as it last was."
        ),
    ] = False
    config_xds: Annotated[
        str,
        Parameter(
            validator=_is_target,
            help="HOST:PORT of an ADS server that serves RateLimitConfig resources, instead of --config.",
        ),
    ] = ""
    config_xds_node_id: Annotated[str, Parameter(help="Who asks: the node id the server knows.")] = "default"
    config_xds_node_metadata: Annotated[
        tuple[str, ...], Parameter(consume_multiple=True, negative=(), help="NAME=VALUE… of that node.")
    ] = ()
    config_xds_header: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True, negative=(), help="NAME=VALUE… sent with the stream, such as a token."
        ),
    ] = ()
    config_xds_tls: Annotated[bool, Parameter(negative=(), help="Connect by TLS.")] = False
    config_xds_tls_ca: Annotated[Path | None, Parameter(help="PEM CA of the server; implies TLS.")] = None
    config_xds_tls_cert: Annotated[Path | None, Parameter(help="PEM certificate of ours, for mTLS.")] = None
    config_xds_tls_key: Annotated[Path | None, Parameter(help="PEM key of --config-xds-tls-cert.")] = None
    config_xds_server_name: Annotated[
        str, Parameter(help="What the server's certificate must say instead of HOST.")
    ] = ""
    config_xds_wait: Annotated[
        float | None,
        Parameter(
            validator=validators.Number(gte=0, lte=300),
            help="Seconds after which it listens, if no limits came, and answers UNAVAILABLE until they do; by default it waits for them.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be served."""
        ServerSettings.__post_init__(self)
        if self.config and self.config_xds:
            raise SettingsError("limits come from --config or from --config-xds: write one of them, not both")
        if not self.config and not self.config_xds:
            raise SettingsError("write where limits come from: --config PATH…, or --config-xds HOST:PORT")
        if (self.config_xds_tls_cert is None) != (self.config_xds_tls_key is None):
            raise SettingsError("--config-xds-tls-cert and --config-xds-tls-key go together")
        self.xds_server()

    def xds_server(self) -> XdsServer | None:
        """Return the server that limits come from, if they do not come from files."""
        if not self.config_xds:
            return None
        return XdsServer(
            address=self.config_xds,
            node_id=self.config_xds_node_id,
            node_metadata=_pairs("--config-xds-node-metadata", self.config_xds_node_metadata),
            headers={
                name.lower(): value
                for name, value in _pairs("--config-xds-header", self.config_xds_header).items()
            },
            tls=self.config_xds_tls,
            ca=self.config_xds_tls_ca,
            cert=self.config_xds_tls_cert,
            key=self.config_xds_tls_key,
            server_name=self.config_xds_server_name,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings(SourceSettings):
    """How limits are counted that do not say so themselves, and what answers have beside the statuses."""

    default_algorithm: AlgorithmOption = "token_bucket"
    default_charge: ChargeOption = None
    shadow_mode: Annotated[
        bool, Parameter(negative=(), help="Let everything pass, and count and report what would not.")
    ] = False
    response_headers: Annotated[
        Literal["none", "draft", "x-ratelimit"],
        Parameter(
            help="Headers for the client: ratelimit-limit, -remaining, -reset and retry-after, or x-ratelimit-…"
        ),
    ] = "none"
    limit_header: Annotated[
        str | None, Parameter(validator=_is_header, help="The name of the limit's header.")
    ] = None
    remaining_header: Annotated[
        str | None, Parameter(validator=_is_header, help="The name of the header of what is left.")
    ] = None
    reset_header: Annotated[
        str | None,
        Parameter(validator=_is_header, help="The name of the header of the seconds until it is new."),
    ] = None
    response_dynamic_metadata: Annotated[
        bool,
        Parameter(
            negative=(), help="Give Envoy the descriptors and the limit's metadata as dynamic metadata."
        ),
    ] = False
    response_body: Annotated[
        Literal["none", "problem"],
        Parameter(help="The body of a refusal: problem details as JSON (RFC 9457)."),
    ] = "none"

    def defaults(self) -> Defaults:
        """Return what holds for limits that do not say otherwise."""
        return make_defaults(self.default_algorithm, self.default_charge, shadow_mode=self.shadow_mode)

    def response_options(self) -> ResponseOptions:
        """Return what answers have beside the statuses."""
        names = None
        if self.response_headers != "none":
            usual = HeaderNames() if self.response_headers == "draft" else X_RATELIMIT
            names = HeaderNames(
                (self.limit_header or usual.limit).lower(),
                (self.remaining_header or usual.remaining).lower(),
                (self.reset_header or usual.reset).lower(),
                usual.retry_after,
            )
        return ResponseOptions(names, self.response_dynamic_metadata, self.response_body)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSettings(AnswerSettings):
    """What is seen of decisions."""

    near_limit_ratio: Annotated[
        float,
        Parameter(
            validator=validators.Number(gt=0, lte=1),
            help="A limit used by more than this is near: metrics say so.",
        ),
    ] = NEAR_LIMIT_RATIO
    metrics_max_rules: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1, lte=1_000_000),
            help="Rules with metrics of their own; those beyond are counted as `other`.",
        ),
    ] = MAX_RULES
    decision_log: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=1),
            help="Share of the limited requests that is logged, from 0 to 1; at most 100 a second.",
        ),
    ] = 0.0
    decision_log_keys: Annotated[
        KeyStyle,
        Parameter(help="How the log and /top write what was limited: it may be a user or an address."),
    ] = "plain"
    key_salt: Annotated[
        str, Parameter(help="Goes into those hashes, so that nobody finds a key by guessing.")
    ] = ""

    def log_options(self) -> DecisionLogOptions:
        """Return what the decision log is to do."""
        return DecisionLogOptions(sample=self.decision_log, keys=self.decision_log_keys, salt=self.key_salt)
