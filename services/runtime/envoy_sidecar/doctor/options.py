"""The options of the command, the same wherever it is offered."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from envoy_sidecar.doctor.diagnosis import Severity

Format = Literal["text", "json"]

EnvoyOption = Annotated[
    str | None, Parameter(help="The admin interface of a running Envoy: http://127.0.0.1:9901.")
]
BootstrapOption = Annotated[
    Path | None, Parameter(help="A bootstrap file, or a saved /config_dump; YAML or JSON.")
]
LeastOption = Annotated[Severity, Parameter(help="Say nothing below this severity.")]
IgnoreOption = Annotated[
    tuple[str, ...], Parameter(help="A check to leave out, by the name in brackets.", negative=())
]
FormatOption = Annotated[Format, Parameter(name="--format")]
