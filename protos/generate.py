"""Generate the Python classes of protos/ into the runtime package (`make protos`).

    python protos/generate.py [OUTPUT]

OUTPUT defaults to services/runtime; the freshness test passes a folder of its own.
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(output: Path) -> list[Path]:
    """Write `*_pb2.py` and `*_pb2.pyi` below *output*; return the files written.

    Raises RuntimeError when protoc refuses a file (it has printed where and why).
    """
    sources = sorted(PROTOS.rglob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={output}",
            f"--pyi_out={output}",
            *map(str, sources),
        ]
    )
    if code != 0:
        raise RuntimeError(f"protoc failed with exit code {code}")
    return [
        output / source.relative_to(PROTOS).with_name(source.stem + suffix)
        for source in sources
        for suffix in ("_pb2.py", "_pb2.pyi")
    ]


if __name__ == "__main__":
    for path in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "services" / "runtime"):
        print(path)
