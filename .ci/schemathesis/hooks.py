"""What Schemathesis has to know of this API besides its document."""

import schemathesis
from hypothesis import strategies as st

# The bytes and the text of modules: `double`, one that links to `utils`, and one that traps.
DOUBLE = "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"
TWICE = (
    "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000"
    "030201000710010c646f75626c655f747769636500010a0a0108002000100010000b"
)
WASM = st.one_of(
    st.sampled_from([bytes.fromhex(DOUBLE), bytes.fromhex(TWICE), b"\0asm\1\0\0\0"]),
    st.binary(max_size=200),
)
WAT = st.one_of(
    st.sampled_from(
        [
            '(module (func (export "f") (result i32) (i32.const 7)))',
            '(module (func (export "f") unreachable))',
            "(module",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=200),
).map(lambda text: text.encode())

LINES = st.lists(
    st.one_of(
        st.sampled_from([b"[2]", b'{"params":[2]}', b'{"params":[2],"limits":{"timeout_ms":5}}', b"[", b""]),
        st.binary(max_size=50),
    ),
    max_size=20,
).map(b"\n".join)

schemathesis.openapi.media_type("application/wasm", WASM)
schemathesis.openapi.media_type("text/wat", WAT)
schemathesis.openapi.media_type("application/x-ndjson", LINES)


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value.encode() if isinstance(value, str) else value


@schemathesis.deserializer("application/wasm")
def wasm(context, response):
    return response.content


def with_integers(value):
    """JSON Schema takes 2.0 for an integer, and the API, as it says, only what is written as one."""
    if isinstance(value, dict):
        return {name: with_integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_integers(element) for element in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 1 << 64:
        return int(value)
    return value


@schemathesis.hook
def map_case(context, case):
    """Lets every second call find the module that `run` registers."""
    meta = case.meta
    if meta is None or meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return case
    for member in ("limits", "idle_timeout_ms", "memory"):
        if isinstance(case.body, dict) and member in case.body:
            case.body[member] = with_integers(case.body[member])
    # Where one request follows from another, it is asked for what that one made.
    if meta.phase.name == "stateful":
        return case
    parameters = case.path_parameters or {}
    module = parameters.get("module")
    if case.method in ("DELETE", "PUT") or not isinstance(module, str) or len(module) % 2 == 0:
        return case
    parameters["module"] = "utils"
    if "function" in parameters:
        parameters["function"] = "double"
        if isinstance(case.body, dict):
            case.body["params"] = [len(module)]
    return case
